"""The plan of a run: what it will cost, measured and said before it is spent.

May import `config`, `inputs`, `runs`, `execution`, `monitoring`, `report` and `offline`.
"""
