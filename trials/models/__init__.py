"""Models and tokenizers: checked, loaded, and their memory estimated.

May import `io`, `spec` and `data`.
"""
