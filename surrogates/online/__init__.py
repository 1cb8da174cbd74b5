"""The search itself: ask, tell, and its beliefs in between.

May import `core`, `space`, `history`, `gp` and `offline`.
"""
