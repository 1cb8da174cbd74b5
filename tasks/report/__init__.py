"""The HTML report of a run, made from its folder alone.

May import `config`, `output` and `runs`.
"""
