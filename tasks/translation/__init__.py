"""Other programs' arguments, logs and tables in our terms.

May import `output` and `history`.
"""
