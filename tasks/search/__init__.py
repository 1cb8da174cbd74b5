"""The steps of a search: begin, loop, conclude; and runs by name.

May import `config`, `sync`, `inputs`, `history`, `runs`, `execution`, `monitoring` and `planning`.
"""
