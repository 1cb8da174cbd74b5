"""Processes that run trials: the launcher, warm workers, the supervisor that watches them.

May import `io`, `spec`, `outcomes`, `scoring`, `models`, `checkpoints`, `evaluation` and
`training`.
"""
