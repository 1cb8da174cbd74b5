"""The run folder: its records, the ledger, and the tables and texts made from them.

May import `config` and `history`.
"""
