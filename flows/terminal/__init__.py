"""The face of a command: lines and progress for people, JSON for programs, an answer to Ctrl-C.

Imports no other package of `flows`.
"""
