"""Rewards: a completion and its row in, a number out; and whether right answers earn it.

May import `io`, `spec`, `matching` and `data`.
"""
