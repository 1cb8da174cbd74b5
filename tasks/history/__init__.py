"""The history: one row per trial, the checks it must pass, the quarantine.

May import `config`, `sync` and `output`.
"""
