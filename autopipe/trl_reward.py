"""The rewards of an export, for TRL: ``reward_funcs: [autopipe.trl_reward.reward]``."""

from __future__ import annotations

from autopipe import find_packages

find_packages()

from trials.scoring.trl_reward import format_reward, length_reward, reward  # noqa: E402

__all__ = ["format_reward", "length_reward", "reward"]
