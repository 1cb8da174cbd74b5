"""What a run will cost, measured and said before it is spent.

May import `config`, `inputs`, `runs`, `execution`, `monitoring`, `report` and `offline`.
"""
