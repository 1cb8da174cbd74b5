"""The program that `accelerate launch` runs: one SFT -> RL trial and everything it records.

Packages, each importing earlier ones only: `io`, `spec`, `outcomes`, `curriculum`, `matching`,
`data`, `scoring`, `models`, `checkpoints`, `evaluation`, `training`, `process`.
"""
