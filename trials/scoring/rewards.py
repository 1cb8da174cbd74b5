"""Rewards: a completion and its row in, a number in [0, 1] out (user code may leave that range).

The same function is the RL reward and the validation metric, so the two never disagree on what
counts as right. RL may add terms for the form and the length of a completion, the metric never.
Completions are read by `trials.matching`; this module builds the reward that a card names, with
bounded arguments, and checks that it returns one finite number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from numbers import Real
from typing import Any

from trials.data.card import TRL_PREFIX, is_trl_reward, is_user_code
from trials.data.dataset import Dataset, DatasetCard, Row
from trials.io.errors import RewardError, RewardFailed
from trials.io.problems import shown
from trials.matching.bounded_regex import compile_bounded
from trials.matching.choices import Choice
from trials.matching.exact import ExactMatch
from trials.matching.numeric import Numeric, is_readable_answer, parse_number
from trials.scoring.code import TRL_REWARDS, trl_reward, user_reward
from trials.scoring.gym import gym_scorer
from trials.spec.hyperparameters import Hyperparameters

MAX_ARGUMENT_CHARACTERS = 100_000  # of reward_args, as JSON
MAX_MARKER_CHARACTERS = 200
MAX_CHOICES = 1_000
MAX_FORMULAS = 500  # answers that are not plain numbers, read when a reward is built


# Scores one completion against its row; raises RewardFailed where it cannot.
Reward = Callable[[str, Row], float]
# Rewards that say what they take as the answer of a completion.
AnswerReader = Choice | ExactMatch | Numeric


def build_reward(dataset: Dataset, allow_user_code: bool = False) -> Reward:
    """The reward that the dataset's card names.

    Raises:
        RewardError: for an unknown name, code without ``allow_user_code``, arguments that it does
            not take or that are too large, an ``answer_format`` that is not a regular expression or
            takes too long, or a row whose answer the reward cannot read: such a row would count
            every completion as wrong.
    """
    card = dataset.card
    format_check(card)  # refused now, and not when RL begins
    kind, args, marker = str(card.reward), dict(card.reward_args), card.answer_marker
    _check_sizes(dataset, args, marker)
    reward: Callable[[str, Row], Any]
    if is_trl_reward(kind):
        reward = trl_reward(kind, args)
    elif is_user_code(kind):
        reward = user_reward(kind, args, allow_user_code)
    elif kind == "reasoning_gym":
        _check_names(dataset, args, "dataset", required=True)
        reward = gym_scorer(marker, allow_user_code, **args)
    else:
        reader = answer_reader(dataset)
        if kind == "numeric":
            _check_numeric_answers(dataset)

        def reward(completion: str, row: Row) -> float:
            return reader.score(completion, row.answers)

    return _checked(kind, reward)


def answer_reader(dataset: Dataset) -> AnswerReader:
    """The part of the rewards ``exact_match``, ``choice`` and ``numeric`` that reads completions.

    Raises:
        RewardError: when the card names none of these, or with arguments that it does not take.
    """
    kind, args = str(dataset.card.reward), dict(dataset.card.reward_args)
    marker = dataset.card.answer_marker
    if kind == "choice":
        _check_names(dataset, args, "choices")
        choices = args.get("choices") or distinct_answers(dataset)
        if not isinstance(choices, list | tuple) or not all(isinstance(c, str) for c in choices):
            listed = choices if isinstance(choices, list | tuple) else [choices]
            wrong = next((c for c in listed if not isinstance(c, str)), choices)
            raise RewardError(
                f"{dataset.path}: reward_args.choices must be a list of texts, found {wrong!r}; "
                "write yes, no, true, false and numbers in quotes"
            )
        if len(choices) > MAX_CHOICES:
            raise RewardError(
                f"{dataset.path}: the reward 'choice' has {len(choices):,} labels to look for; "
                f"expected at most {MAX_CHOICES:,}: set `reward: exact_match` in dataset.yaml"
            )
        return Choice(marker, tuple(choices))
    if kind not in ("exact_match", "numeric"):
        raise RewardError(
            f"{dataset.path}: reward {kind!r} is unknown; expected one of exact_match, choice, "
            f"numeric, reasoning_gym, {', '.join(f'{TRL_PREFIX}:{name}' for name in TRL_REWARDS)} "
            "or 'module:function'"
        )
    _check_names(dataset, args)
    return ExactMatch(marker) if kind == "exact_match" else Numeric(marker)


def distinct_answers(dataset: Dataset) -> list[str]:
    """All answers in the rows of a dataset, sorted."""
    rows = (row for rows in dataset.splits.values() for row in rows)
    return sorted({answer for row in rows for answer in row.answers})


def _check_sizes(dataset: Dataset, args: dict[str, Any], marker: str) -> None:
    if len(marker) > MAX_MARKER_CHARACTERS:
        raise RewardError(
            f"{dataset.path}: answer_marker has {len(marker)} characters; expected at most "
            f"{MAX_MARKER_CHARACTERS}, such as 'Answer:'"
        )
    try:
        size = len(json.dumps(args))
    except (TypeError, ValueError, RecursionError) as error:
        raise RewardError(
            f"{dataset.path}: reward_args hold what JSON cannot write: {error}; expected texts, "
            "numbers, lists and mappings"
        ) from None
    if size > MAX_ARGUMENT_CHARACTERS:
        raise RewardError(
            f"{dataset.path}: reward_args have {size:,} characters; expected at most "
            f"{MAX_ARGUMENT_CHARACTERS:,}"
        )


def _check_names(
    dataset: Dataset, args: dict[str, Any], known: str | None = None, required: bool = False
) -> None:
    """Refuses arguments other than the one that the reward takes, or the want of it."""
    unknown = sorted(map(str, set(args) - {known}))
    if unknown or (required and known not in args):
        found = f"{', '.join(unknown)} unknown" if unknown else f"{known} missing"
        where = f"{dataset.path}: reward_args of {dataset.card.reward!r}"
        raise RewardError(f"{where}: {found}; expected {known or 'none'}")


def _check_numeric_answers(dataset: Dataset) -> None:
    """Refuses right answers that no completion could equal.

    Numbers cost nothing, formulas some milliseconds each, so that of many only the first are read.
    """
    rows = (row for rows in dataset.splits.values() for row in rows)
    answers = ((row, answer) for row in rows for answer in row.answers)
    formulas = (pair for pair in answers if parse_number(pair[1]) is None)
    for row, answer in islice(formulas, MAX_FORMULAS):
        if not is_readable_answer(answer):
            raise RewardError(
                f"{_place(row)}: the answer {shown(answer)} is not a number that the reward "
                "'numeric' can read, so every completion would be wrong\n  expected: a number or "
                "formula such as 12, 1/2 or $\\sqrt{2}$, no larger than can be worked out; fix "
                "the row, or set `reward: exact_match` in dataset.yaml"
            )


def _checked(kind: str, reward: Callable[[str, Row], Any]) -> Reward:
    def checked(completion: str, row: Row) -> float:
        try:
            value: Any = reward(completion, row)  # user code may return anything
        except (RewardError, MemoryError):  # want of memory is not a fault of the reward
            raise
        except (Exception, SystemExit) as error:
            raise RewardFailed(
                f"reward {kind!r} raised {type(error).__name__}: {error}\n  on {_place(row)}, "
                f"for the completion {shown(completion)}"
            ) from error
        with suppress(OverflowError):  # an integer beyond the largest float
            if isinstance(value, Real) and math.isfinite(value):  # NumPy's numbers are Real too
                return float(value)
        shape = getattr(value, "shape", None)
        of_shape = f" of shape {tuple(shape)}" if shape is not None else ""
        found = f"a {type(value).__name__}{of_shape} ({shown(value)})"
        if value is None or isinstance(value, float):
            found = str(value)
        raise RewardFailed(
            f"reward {kind!r} returned {found}; expected one finite number for each completion\n"
            f"  on {_place(row)}, for the completion {shown(completion)}"
        )

    return checked


def _place(row: Row) -> str:
    """File and line of a row; its prompt when it came from elsewhere."""
    if row.file is not None:
        return f"{row.file}:{row.line}"
    return f"the row with the prompt {shown(row.prompt[-1]['content'])}"


@dataclass(frozen=True)
class RewardTerm:
    """One term of the RL reward, which is the weighted sum of all."""

    name: str
    weight: float
    score: Callable[[str, Row, int], float]
    """Of a completion's text, its row, and the completion's length in tokens."""


def training_rewards(
    reward: Reward, h: Hyperparameters, card: DatasetCard, limit: int
) -> list[RewardTerm]:
    """The terms of the RL reward; the first is the task reward, alone the validation metric.

    Others are on where they have a weight. At most ``limit`` tokens are generated.

    Raises:
        RewardError: when ``answer_format`` of the card is not a regular expression.
    """
    matches = format_check(card)
    terms = [
        RewardTerm(str(card.reward), 1.0, lambda text, row, tokens: reward(text, row)),
        RewardTerm("format", h.rl_format_weight, lambda text, row, tokens: float(matches(text))),
        RewardTerm(
            "length", h.rl_length_weight, lambda text, row, tokens: overlong_penalty(tokens, limit)
        ),
    ]
    return [term for term in terms if term.weight > 0]


def format_check(card: DatasetCard) -> Callable[[str], bool]:
    """A test of whether a completion has the form that the card asks for.

    That is a match of the card's regular expression ``answer_format`` anywhere in the completion
    ("." matches line ends too); without one, exactly one answer marker with an answer on its line.

    Raises:
        RewardError: when it is not a regular expression, or takes too long.
    """
    if card.answer_format:
        return compile_bounded(card.answer_format, "answer_format")

    def has_one_answer(text: str) -> bool:
        _, *answers = text.split(card.answer_marker)
        return len(answers) == 1 and bool(answers[0].partition("\n")[0].strip())

    return has_one_answer


def overlong_penalty(tokens: int, limit: int) -> float:
    """Soft punishment of long completions, in [-1, 0].

    0 up to ``limit - margin`` tokens, from there ((limit - margin) - tokens) / margin, down to -1
    at ``limit``; the margin is a quarter of the limit. Equation 13 of DAPO (arXiv 2503.14476).
    """
    margin = max(1.0, limit / 4)
    return max(-1.0, min(0.0, (limit - margin - tokens) / margin))
