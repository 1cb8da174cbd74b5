"""The models that are learned before the first trial: ranking, early prediction, cost.

May import `core`, `space`, `history` and `gp`.
"""
