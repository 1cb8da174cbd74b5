"""Readers of past runs made with other tools, one file per format.

Each yields the items of a source and a function that makes the row of each: a ``Reader``.

May import `history` and `translation`.
"""
