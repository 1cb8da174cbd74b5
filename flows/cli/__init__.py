"""The `autopipe` command: its options, its sub-commands, and what it says when something is wrong.

May import `server` and `terminal`.
"""
