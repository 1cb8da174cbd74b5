"""The steps of a search: begin, loop, conclude; and the names and the storage of runs.

May import `config`, `sync`, `inputs`, `history`, `runs`, `execution`, `monitoring` and `planning`.
"""
