"""Configurations as numbers: axes, encodings, candidates, stages, usual rates.

May import `core`.
"""
