"""The offline pipeline: validate the history, measure features, train, evaluate.

May import `config`, `output`, `inputs`, `history` and `runs`.
"""
