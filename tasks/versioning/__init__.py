"""Versions, kept by DVC, of all that runs read and write; runs reproduced from them.

May import `config`, `sync` and `runs`.
"""
