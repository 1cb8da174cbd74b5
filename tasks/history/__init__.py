"""The history: one row per trial, what may join it, what is quarantined.

May import `config`, `sync` and `output`.
"""
