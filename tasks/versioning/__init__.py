"""What runs read and wrote, kept by DVC; and a run repeated on the same data.

May import `config`, `sync` and `runs`.
"""
