"""The making of the tiny models and their tokenizer, which are kept in `data/models`.

Imports no other package.
"""
