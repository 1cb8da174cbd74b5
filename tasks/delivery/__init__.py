"""The best model for those who use it: the export and the promotion.

May import `config`, `sync`, `inputs` and `runs`.
"""
