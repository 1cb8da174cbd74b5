"""Other programs' arguments, logs and tables, translated into our terms.

May import `output` and `history`.
"""
