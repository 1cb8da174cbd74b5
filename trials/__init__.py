"""The program that `accelerate launch` runs: one SFT -> RL run and everything it records."""
