"""The table of past trials, and the training data derived from it.

May import `core` and `space`.
"""
