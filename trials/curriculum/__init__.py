"""Curricula: which prompts RL generates for, and how much, learned from the rewards so far.

May import `spec`.
"""
