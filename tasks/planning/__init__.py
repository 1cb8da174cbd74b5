"""The plan of a run: its cost, measured and announced before it is spent.

May import `config`, `inputs`, `runs`, `execution`, `monitoring` and `offline`.
"""
