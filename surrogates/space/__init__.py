"""Configurations as numbers: axes, encodings, candidates, stages.

May import `core`.
"""
