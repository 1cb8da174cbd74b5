"""Files and their limits, errors, secrets, and what a process needs of its machine.

Imports no other package of `trials`.
"""
