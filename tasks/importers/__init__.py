"""Readers of past runs made with other tools, a file per format.

May import `history` and `translation`.
"""
