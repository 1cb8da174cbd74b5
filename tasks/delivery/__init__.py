"""The winner for its users: export and promotion.

May import `config`, `sync`, `output`, `inputs`, `runs` and `execution`.
"""
