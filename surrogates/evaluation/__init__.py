"""Evaluation of the offline models on datasets that they have not seen.

May import `core`, `space`, `history` and `offline`.
"""
