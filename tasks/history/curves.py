"""Curves and timelines of trials, packed as JSON into one cell of the history, and their checks.

Others may have written them: their size, form and values are bounded before they are learned from.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter

from trials.spec.kinds import STAGES, Stage
from trials.spec.records import CurvePoint, Spent

CURVE_DIGITS = 5
MAX_CHARACTERS = 5_000_000  # some 400,000 points
MAX_SERIES = 200
MAX_VALUE = 1e30  # of any value: far beyond what is measured, far below what a float can hold
MAX_SCORE = 1e9
MAX_STEP = 10**12
CURVE_FORM = 'curve is not {"stage/metric": [[steps], [values]]}'
TIMELINE_FORM = "timeline is not [[steps], [seconds], [FLOPs]]"
STRICT = ConfigDict(strict=True)  # a number in a text is none
CURVE = TypeAdapter(dict[str, tuple[list[int], list[float]]], config=STRICT)
TIMELINE = TypeAdapter(tuple[list[float], list[float], list[float]], config=STRICT)


def pack_curve(points: Sequence[CurvePoint]) -> str:
    """A curve as compact JSON: {"stage/metric": [[steps], [values]]}."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for point in points:
        steps, values = series.setdefault(f"{point.stage}/{point.metric}", ([], []))
        steps.append(point.step)
        values.append(float(f"{point.value:.{CURVE_DIGITS}g}"))
    return json.dumps(series, separators=(",", ":"))


def pack_timeline(timeline: Sequence[Spent]) -> str:
    """A trial's costs at each evaluation, as JSON: [[steps], [seconds], [FLOPs]]."""
    series = [[getattr(spent, name) for spent in timeline] for name in Spent.model_fields]
    return json.dumps(series, separators=(",", ":")) if timeline else ""


def unpack_curve(text: str) -> dict[tuple[Stage, str], tuple[list[int], list[float]]]:
    """The inverse of ``pack_curve``, up to its rounding: steps and values by stage and metric."""
    series = {}
    for name, (steps, values) in CURVE.validate_json(text).items():
        stage, _, metric = name.partition("/")
        series[cast(Stage, stage), metric] = steps, values
    return series


def curve_problems(text: Any) -> list[str]:
    """Faults of a packed curve: in its form, its stages, its steps, its values."""
    series, problems = _parse(text, CURVE, CURVE_FORM)
    if series is None:
        return problems
    if len(series) > MAX_SERIES:
        return [f"curve has {len(series)} series, expected at most {MAX_SERIES}"]
    return [
        f"curve {name[:80]}: {problem}"
        for name, (steps, values) in series.items()
        for problem in _series_problems(name, steps, values)
    ]


def timeline_problems(text: Any) -> list[str]:
    """Faults of a packed timeline: in its form, or steps or costs that fall."""
    series, problems = _parse(text, TIMELINE, TIMELINE_FORM)
    if series is None:
        return problems
    steps, seconds, flops = series
    if not len(steps) == len(seconds) == len(flops):
        return [f"timeline: {len(steps)} steps, {len(seconds)} seconds, {len(flops)} FLOPs"]
    if not all(map(operator.lt, steps, steps[1:])):
        problems.append("timeline: steps do not rise")
    for name, values in (("seconds", seconds), ("FLOPs", flops)):
        if not all(0 <= value <= MAX_VALUE for value in values):
            problems.append(f"timeline: {name} are not all finite and 0 or more")
        elif not all(map(operator.le, values, values[1:])):
            problems.append(f"timeline: {name} fall")
    return problems


def _parse(text: Any, kind: TypeAdapter[Any], form: str) -> tuple[Any, list[str]]:
    """The content of a cell; None for one that is empty, or that has the problems named."""
    if not isinstance(text, str) or not text:
        return None, []
    if len(text) > MAX_CHARACTERS:
        return None, [f"{form}: longer than {MAX_CHARACTERS:,} characters"]
    try:
        return kind.validate_json(text), []
    except ValueError as error:
        return None, [f"{form}: nested too deeply" if "recursion limit" in str(error) else form]


def _series_problems(name: str, steps: list[int], values: list[float]) -> list[str]:
    stage, _, metric = name.partition("/")
    problems = []
    if stage not in STAGES or not metric:
        problems.append(f"not one of {', '.join(STAGES)}, '/', a metric")
    if len(steps) != len(values):
        problems.append(f"{len(steps)} steps and {len(values)} values")
    if fall := next((pair for pair in pairwise(steps) if pair[1] <= pair[0]), None):
        problems.append(f"step {fall[1]} follows step {fall[0]}")
    if steps and steps[0] < 1:
        problems.append(f"starts at step {steps[0]}, expected 1 or later")
    if steps and steps[-1] > MAX_STEP:
        problems.append(f"a step is beyond {MAX_STEP:,}")
    if metric == "score" and not all(map(math.isfinite, values)):
        problems.append("a score is not finite")
    bound = MAX_SCORE if metric == "score" else MAX_VALUE
    # Infinity and NaN are losses that diverged; minus infinity beside infinity would have no mean.
    if any(value < -bound or bound < value < math.inf for value in values):
        problems.append(f"a value is beyond {bound:g}")
    return problems
