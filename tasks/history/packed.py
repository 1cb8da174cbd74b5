"""Packed cells of the history: curves and timelines, JSON that others may have written.

They are read here and nowhere else, within bounds of size, form and values, so that what checks a
history, and what learns from it, survives whatever is in it.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from trials.spec.records import STAGES

MOST_CHARACTERS = 5_000_000  # some 400,000 points
MOST_SERIES = 200
LARGEST = 1e30  # of any value: far beyond what is measured, far below what a float can hold
LARGEST_SCORE = 1e9
LARGEST_STEP = 10**12
CURVE_FORM = 'curve is not {"stage/metric": [[steps], [values]]}'
TIMELINE_FORM = "timeline is not [[steps], [seconds], [FLOPs]]"


def parsed(text: str) -> Any:
    """The content of a packed cell.

    Raises:
        ValueError: it is no JSON, too long, or nested too deeply.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"longer than {MOST_CHARACTERS:,} characters")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def curve_problems(text: Any) -> list[str]:
    """What is wrong with a packed curve: its form, its stages, its steps, its values."""
    if not isinstance(text, str) or not text:
        return []
    try:
        series = parsed(text)
    except ValueError as error:
        return [_problem(CURVE_FORM, error)]
    if not isinstance(series, dict) or not all(map(_is_series, series.values())):
        return [CURVE_FORM]
    if len(series) > MOST_SERIES:
        return [f"curve has {len(series)} series, expected at most {MOST_SERIES}"]
    return [
        f"curve {name[:80]}: {problem}"
        for name, (steps, values) in series.items()
        for problem in _series_problems(name, steps, values)
    ]


def timeline_problems(text: Any) -> list[str]:
    """What is wrong with a packed timeline: its form, steps or costs that fall."""
    if not isinstance(text, str) or not text:
        return []
    try:
        series = parsed(text)
    except ValueError as error:
        return [_problem(TIMELINE_FORM, error)]
    lists = isinstance(series, list) and all(isinstance(each, list) for each in series)
    if not lists or len(series) != 3 or not all(map(_are_numbers, series)):
        return [TIMELINE_FORM]
    steps, seconds, flops = series
    if not len(steps) == len(seconds) == len(flops):
        return [f"timeline: {len(steps)} steps, {len(seconds)} seconds, {len(flops)} FLOPs"]
    problems = []
    if not all(map(operator.lt, steps, steps[1:])):
        problems.append("timeline: steps do not rise")
    for name, values in (("seconds", seconds), ("FLOPs", flops)):
        if not all(0 <= value <= LARGEST for value in values):
            problems.append(f"timeline: {name} are not all finite and 0 or more")
        elif not all(map(operator.le, values, values[1:])):
            problems.append(f"timeline: {name} fall")
    return problems


def _problem(form: str, error: ValueError) -> str:
    broken = isinstance(error, json.JSONDecodeError) or "digits" in str(error)
    return form if broken else f"{form}: {error}"


def _is_series(pair: Any) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2):
        return False
    steps, values = pair
    whole = isinstance(steps, list) and set(map(type, steps)) <= {int}
    return whole and isinstance(values, list) and _are_numbers(values)


def _are_numbers(values: Sequence[Any]) -> bool:
    return set(map(type, values)) <= {int, float}


def _within(values: list[float], bound: float) -> bool:
    """Whether all values are; infinity is, and NaN, for a loss that diverged.

    Minus infinity is not: with the other one it has no mean.
    """
    if not values or (-bound <= min(values) and max(values) <= bound):
        return True  # min and max pass over NaN, but for a first one, with which both fail
    return not any(value < -bound or bound < value < math.inf for value in values)


def _series_problems(name: str, steps: list[int], values: list[float]) -> list[str]:
    stage, _, metric = name.partition("/")
    problems = []
    if stage not in STAGES or not metric:
        problems.append(f"not one of {', '.join(STAGES)}, '/', a metric")
    if len(steps) != len(values):
        problems.append(f"{len(steps)} steps and {len(values)} values")
    if not all(map(operator.lt, steps, steps[1:])):
        fall = next(pair for pair in pairwise(steps) if pair[1] <= pair[0])
        problems.append(f"step {fall[1]} follows step {fall[0]}")
    if steps and steps[0] < 1:
        problems.append(f"starts at step {steps[0]}, expected 1 or later")
    if steps and steps[-1] > LARGEST_STEP:
        problems.append(f"a step is beyond {LARGEST_STEP:,}")
    if metric == "score" and not all(map(math.isfinite, values)):
        problems.append("a score is not finite")
    bound = LARGEST_SCORE if metric == "score" else LARGEST
    if not _within(values, bound):
        problems.append(f"a value is beyond {bound:g}")
    return problems
