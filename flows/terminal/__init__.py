"""The face of a command: progress for people, JSON for programs, answers to Ctrl-C.

Imports no other package of `flows`.
"""
