"""Safe output: text for terminals, HTML and CSV, and rounded numbers for DVC.

Imports no other package of `tasks`.
"""
