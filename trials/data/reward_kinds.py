"""Which reward kinds are functions, and whose."""

from __future__ import annotations

TRL_PREFIX = "trl.rewards"


def is_trl_reward(kind: str) -> bool:
    """Whether a reward is one of the functions that TRL itself brings along."""
    return kind.partition(":")[0] == TRL_PREFIX and ":" in kind


def is_user_code(kind: str) -> bool:
    """Whether a reward is code that is run only when allowed."""
    return ":" in kind and not is_trl_reward(kind)
