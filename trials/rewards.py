"""Rewards: a completion and its row in, a number in [0, 1] out (user code may leave that range).

The same function is the RL reward and the validation metric, so the two never disagree on what
counts as right. RL may add terms for the form and the length of a completion, the metric never.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any, Protocol

from trials.dataset import Dataset, DatasetCard, Row
from trials.errors import RewardError, RewardFailed
from trials.hyperparameters import Hyperparameters


class Reward(Protocol):
    """Scores one completion against its row; raises RewardFailed where it cannot."""

    def __call__(self, completion: str, row: Row) -> float: ...


def build_reward(dataset: Dataset, allow_user_code: bool = False) -> Reward:
    """The reward that the dataset's card names.

    Raises:
        RewardError: for an unknown name, user code without ``allow_user_code``, an
            ``answer_format`` that is no regular expression, or a row whose answer the reward
            cannot read: such a row would count every completion as wrong.
    """
    answer_format(dataset.card)  # refused now, and not when RL begins
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
        reward = builders[kind](marker, **args)
    except TypeError as error:
        raise RewardError(f"{dataset.path}: reward_args of {kind!r}: {error}") from None
    if kind == "numeric":
        _check_numeric_answers(dataset)
    return _checked(kind, reward)


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
# Known to be read; not so all others, "-01" among them.
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


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
        found = parse(answer, parsing_timeout=None)
        return float(bool(found) and verify(list(_gold(row.answer)), found, timeout_seconds=None))

    return reward


@lru_cache(maxsize=65_536)
def _gold(answer: str) -> tuple[Any, ...]:
    """What math-verify reads in an answer; nothing when it finds no mathematics in it."""
    from math_verify import parse

    return () if _ENDLESS_POWER.search(answer) else tuple(parse(answer, parsing_timeout=None))


def _check_numeric_answers(dataset: Dataset) -> None:
    """Refuses right answers that no completion could equal.

    Every row is checked: an answer takes math-verify about 0.2 ms, once, and plain numbers nothing.
    """
    for rows in dataset.splits.values():
        for row in rows:
            if not _PLAIN_NUMBER.fullmatch(row.answer) and not _gold(row.answer):
                raise RewardError(
                    f"{_place(row)}: the answer {row.answer!r} is no number that the reward "
                    "'numeric' can read, so every completion would be wrong\n  expected: a number "
                    "or formula such as 12, 1/2 or $\\sqrt{2}$, no larger than can be worked out; "
                    "mend the row, or set `reward: exact_match` in dataset.yaml"
                )


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
        try:
            value: Any = reward(completion, row)  # user code may return anything
        except (RewardError, MemoryError):  # want of memory is no fault of the reward
            raise
        except (Exception, SystemExit) as error:
            raise RewardFailed(
                f"reward {kind!r} raised {type(error).__name__}: {error}\n  on {_place(row)}, "
                f"for the completion {_shortened(completion)}"
            ) from error
        number = _finite(value)
        if number is None:
            raise RewardFailed(
                f"reward {kind!r} returned {_describe(value)}; expected one finite number for each "
                f"completion\n  on {_place(row)}, for the completion {_shortened(completion)}"
            )
        return number

    return checked


def _finite(value: Any) -> float | None:
    if not isinstance(value, Real):  # NumPy's numbers are Real too
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond the largest float
        return None


def _describe(value: Any) -> str:
    if value is None or isinstance(value, float):
        return str(value)
    shape = getattr(value, "shape", None)
    of_shape = f" of shape {tuple(shape)}" if shape is not None else ""
    return f"a {type(value).__name__}{of_shape} ({_shortened(value)})"


def _place(row: Row) -> str:
    """File and line of a row; its prompt when it came from elsewhere."""
    if row.file is not None:
        return f"{row.file}:{row.line}"
    return f"the row with the prompt {_shortened(row.prompt[-1]['content'])}"


def _shortened(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


# The terms of the RL reward

TermScore = Callable[[str, Row, int], float]


@dataclass(frozen=True)
class RewardTerm:
    """One term of the RL reward, which is the weighted sum of all.

    Attributes:
        name: of the term: the kind of the task reward, ``format`` or ``length``.
        weight: of the term in the sum.
        score: of a completion's text, its row, and the completion's length in tokens.
    """

    name: str
    weight: float
    score: TermScore


def training_rewards(
    reward: Reward, h: Hyperparameters, card: DatasetCard, limit: int
) -> list[RewardTerm]:
    """The terms of the RL reward; the first is the task reward, alone the validation metric.

    Args:
        reward: of the task.
        h: its ``rl_format_weight`` and ``rl_length_weight`` switch the other terms on.
        card: of the dataset.
        limit: tokens that are generated at most.

    Raises:
        RewardError: when ``answer_format`` of the card is no regular expression.
    """
    terms = [RewardTerm(str(card.reward), 1.0, lambda text, row, tokens: reward(text, row))]
    if h.rl_format_weight > 0:
        matches = answer_format(card)
        terms.append(
            RewardTerm("format", h.rl_format_weight, lambda text, row, tokens: float(matches(text)))
        )
    if h.rl_length_weight > 0:
        terms.append(
            RewardTerm(
                "length", h.rl_length_weight, lambda text, row, tokens: overlong(tokens, limit)
            )
        )
    return terms


def answer_format(card: DatasetCard) -> Callable[[str], bool]:
    """Whether a completion has the form that the card asks for.

    That is a match of the card's regular expression ``answer_format`` anywhere in the completion
    ("." matches line ends too); without one, exactly one answer marker with an answer on its line.

    Raises:
        RewardError: when it is no regular expression.
    """
    if not card.answer_format:
        return lambda text: _has_one_answer(text, card.answer_marker)
    try:
        pattern = re.compile(card.answer_format, re.DOTALL)
    except re.error as error:
        raise RewardError(
            f"answer_format {card.answer_format!r} in dataset.yaml is no regular expression: "
            f"{error}; expected one of Python's, such as '^<think>.*</think>Answer: '"
        ) from None
    return lambda text: pattern.search(text) is not None


def overlong(tokens: int, limit: int) -> float:
    """Soft punishment of long completions, in [-1, 0].

    0 up to ``limit - margin`` tokens, from there ((limit - margin) - tokens) / margin, down to -1
    at ``limit``; the margin is a quarter of the limit. Equation 13 of DAPO (arXiv 2503.14476).
    """
    margin = max(1.0, limit / 4)
    return max(-1.0, min(0.0, (limit - margin - tokens) / margin))


def _has_one_answer(text: str, marker: str) -> bool:
    _, *answers = text.split(marker)
    return len(answers) == 1 and bool(answers[0].partition("\n")[0].strip())
