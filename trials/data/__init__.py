"""Datasets: files, rows, messages, splits, and the card that says how rows are scored.

May import `io`, `spec` and `matching`.
"""
