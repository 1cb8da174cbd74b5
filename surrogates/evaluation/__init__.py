"""How good the offline models are on datasets that they have not seen.

May import `core`, `space`, `history` and `offline`.
"""
