"""One trial from its spec to its result, with TRL's own trainers.

May import `io`, `spec`, `outcomes`, `curriculum`, `data`, `scoring`, `models`, `checkpoints` and
`evaluation`.
"""
