"""The search itself: ask, tell, and what it believes in between.

May import `core`, `space`, `gp` and `offline`.
"""
