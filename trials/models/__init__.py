"""Models and tokenizers: what a folder holds, how it is loaded, what memory it takes.

May import `io`, `spec` and `data`.
"""
