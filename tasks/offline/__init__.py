"""The offline pipeline: check the history, describe, train, evaluate.

May import `config`, `output`, `inputs`, `history` and `runs`.
"""
