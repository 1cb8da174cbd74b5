"""The table of past trials, and what is read off it.

May import `core` and `space`.
"""
