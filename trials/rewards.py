"""Rewards: a completion and its row in, a number in [0, 1] out (user code may leave that range).

The same function is the RL reward and the validation metric, so the two never disagree on what
counts as right.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from numbers import Real
from typing import Any, Protocol

from trials.dataset import Dataset, Row
from trials.errors import RewardError


class Reward(Protocol):
    """Scores one completion against its row."""

    def __call__(self, completion: str, row: Row) -> float: ...


def build_reward(dataset: Dataset, allow_user_code: bool = False) -> Reward:
    """The reward that the dataset's card names.

    Raises:
        RewardError: for an unknown name, or user code without ``allow_user_code``.
    """
    kind, args = str(dataset.card.reward), dict(dataset.card.reward_args)
    marker = dataset.card.answer_marker
    if ":" in kind:
        return _checked(kind, _user_reward(kind, args, allow_user_code))
    builders: dict[str, Callable[..., Reward]] = {
        "exact_match": _exact_match,
        "choice": _choice,
        "numeric": _numeric,
        "reasoning_gym": _reasoning_gym,
    }
    if kind not in builders:
        raise RewardError(
            f"{dataset.path}: reward {kind!r} is unknown; expected one of "
            f"{', '.join(builders)} or 'module:function'"
        )
    if kind == "choice":
        answers = {row.answer for rows in dataset.splits.values() for row in rows}
        args.setdefault("choices", sorted(answers))
    try:
        return _checked(kind, builders[kind](marker, **args))
    except TypeError as error:
        raise RewardError(f"{dataset.path}: reward_args of {kind!r}: {error}") from None


def final_answer(completion: str, marker: str) -> str:
    """What follows the last marker, up to the end of its line; the whole text without a marker."""
    _, found, tail = completion.rpartition(marker)
    text = tail.strip().split("\n")[0] if found else completion
    return text.strip()


def _normalise(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip(".").strip().lower()


def _exact_match(marker: str) -> Reward:
    def reward(completion: str, row: Row) -> float:
        return float(_normalise(final_answer(completion, marker)) == _normalise(row.answer))

    return reward


def _choice(marker: str, choices: list[str]) -> Reward:
    """Right when exactly one of the choices, the right one, stands in the final answer.

    The longest choice is matched first: "New York" does not name "York" too.
    """
    names = sorted({_normalise(choice) for choice in choices}, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")

    def reward(completion: str, row: Row) -> float:
        text = _normalise(final_answer(completion, marker))
        return float(set(pattern.findall(text)) == {_normalise(row.answer)})

    return reward


# An exponent of five digits or more, or one that is itself raised to a power.
_ENDLESS_POWER = re.compile(
    r"(?:\^|\*\*)[\s({-]*(?:\d{5,}|\d+[\s)}]*(?:\^|\*\*))|(?:\^|\*\*)\s*[({][^)}]*(?:\^|\*\*)"
)


def _numeric(marker: str) -> Reward:
    """Equal as mathematics (math-verify), so '1,000' is '1000.0' and '1/2' is '0.5'.

    Powers too large to be worked out, such as 9^9^9, are wrong: comparing them would never end,
    and math-verify's own timeouts, which are signals, cannot interrupt big-number arithmetic.
    """
    from math_verify import parse, verify

    def reward(completion: str, row: Row) -> float:
        answer = final_answer(completion, marker)
        if _ENDLESS_POWER.search(answer):
            return 0.0
        gold = parse(row.answer, parsing_timeout=None)
        found = parse(answer, parsing_timeout=None)
        return float(bool(found) and verify(gold, found, timeout_seconds=None))

    return reward


def _reasoning_gym(marker: str, dataset: str) -> Reward:
    from reasoning_gym import get_score_answer_fn

    score = get_score_answer_fn(dataset)

    def reward(completion: str, row: Row) -> float:
        entry = {
            "question": row.prompt[-1]["content"],
            "answer": row.answer,
            "metadata": row.metadata,
        }
        return float(score(final_answer(completion, marker), entry))

    return reward


def _user_reward(kind: str, args: dict[str, Any], allowed: bool) -> Reward:
    if not allowed:
        raise RewardError(
            f"reward {kind!r} is code of yours and is not run unasked; add --allow-user-code"
        )
    module, _, name = kind.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RewardError(f"reward {kind!r} cannot be imported: {error}") from None

    def reward(completion: str, row: Row) -> float:
        return function(
            completion, prompt=row.prompt, answer=row.answer, metadata=row.metadata, **args
        )

    return reward


def _checked(kind: str, reward: Reward) -> Reward:
    def checked(completion: str, row: Row) -> float:
        value: Any = reward(completion, row)  # user code may return anything
        if not isinstance(value, Real):  # NumPy's numbers are Real too
            raise RewardError(
                f"reward {kind!r} returned a {type(value).__name__}; expected one number "
                "for each completion"
            )
        if not math.isfinite(value):
            raise RewardError(f"reward {kind!r} returned {value}; expected a finite number")
        return float(value)

    return checked
