"""Checkpoints: how they are written, verified and resumed from.

May import `io` and `spec`.
"""
