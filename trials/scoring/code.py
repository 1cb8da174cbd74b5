"""Rewards that are functions: TRL's own, and with permission the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trials.data.card import TRL_PREFIX
from trials.data.dataset import Row
from trials.io.errors import RewardError
from trials.io.imports import user_module
from trials.matching.maths import trl_score

# TRL's functions that need nothing but the completion and the answer, with their arguments.
TRL_REWARDS = {
    "accuracy_reward": (),
    "reasoning_accuracy_reward": ("reasoning_delimiters",),
    "think_format_reward": (),
}
_OF_TOKENS = (
    "it scores tokens, which there are none of in validation; set the hyperparameter "
    "rl_length_weight for a punishment of long completions"
)
UNSUPPORTED_TRL_REWARDS = {
    "get_cosine_scaled_reward": _OF_TOKENS,
    "get_soft_overlong_punishment": _OF_TOKENS,
    "get_repetition_penalty_reward": "it scores tokens, which there are none of in validation",
}


def trl_reward(kind: str, args: dict[str, Any]) -> Callable[[str, Row], float | None]:
    """One of TRL's functions, with the row's answer as the column ``solution``.

    It runs in a process with limits, for its own, which are signals, do not end everything.

    Raises:
        RewardError: for a name or an argument that it does not have.
    """
    name = kind.partition(":")[2]
    if name not in TRL_REWARDS:
        why = UNSUPPORTED_TRL_REWARDS.get(name)
        raise RewardError(
            f"reward {kind!r} "
            + (f"cannot be used: {why}" if why else "is unknown")
            + f"; expected one of {', '.join(f'{TRL_PREFIX}:{each}' for each in TRL_REWARDS)}"
        )
    unknown = sorted(map(str, set(args) - set(TRL_REWARDS[name])))
    if unknown:
        known, found = ", ".join(TRL_REWARDS[name]) or "none", ", ".join(unknown)
        raise RewardError(f"reward_args of {kind!r}: {found} unknown; expected {known}")

    def reward(completion: str, row: Row) -> float | None:
        scores = [trl_score(name, completion, answer, args) for answer in row.answers]
        known = [score for score in scores if score is not None]
        return max(known) if known else None

    return reward


def user_reward(kind: str, args: dict[str, Any], allowed: bool) -> Callable[[str, Row], Any]:
    """The user's function, called with the completion and the row's fields.

    Raises:
        RewardError: without permission, or when it cannot be imported.
    """
    if not allowed:
        raise RewardError(
            f"reward {kind!r} is code of yours and is not run unasked; add --allow-user-code"
        )
    module, _, name = kind.partition(":")
    try:
        function = getattr(user_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RewardError(f"reward {kind!r} cannot be imported: {error}") from None

    def reward(completion: str, row: Row) -> Any:
        scores = [
            function(completion, prompt=row.prompt, answer=answer, metadata=row.metadata, **args)
            for answer in row.answers
        ]
        return scores[0] if len(scores) == 1 else max(scores)

    return reward
