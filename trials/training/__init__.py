"""One trial from its spec to its result, with TRL's own trainers.

May import `io`, `spec`, `data`, `scoring`, `models`, `checkpoints` and `evaluation`.
"""
