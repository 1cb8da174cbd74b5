"""Files and their bounds, errors, secrets, and what a process needs of its machine.

Imports no other package of `trials`.
"""
