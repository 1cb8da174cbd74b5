"""Settings, paths and names: one home each, checked all at once.

Imports no other package of `tasks`.
"""
