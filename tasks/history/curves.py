"""Curves and timelines of trials as text in one cell of the history."""

from __future__ import annotations

import json
from collections.abc import Sequence

from trials.spec.records import CurvePoint, Spent, Stage

CURVE_DIGITS = 5


def pack_curve(points: Sequence[CurvePoint]) -> str:
    """A curve as compact JSON: {"stage/metric": [[steps], [values]]}."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for point in points:
        steps, values = series.setdefault(f"{point.stage}/{point.metric}", ([], []))
        steps.append(point.step)
        values.append(float(f"{point.value:.{CURVE_DIGITS}g}"))
    return json.dumps(series, separators=(",", ":"))


def pack_timeline(timeline: Sequence[Spent]) -> str:
    """What a trial had used when it was scored, as JSON: [[steps], [seconds], [FLOPs]]."""
    series = [[getattr(spent, name) for spent in timeline] for name in Spent.model_fields]
    return json.dumps(series, separators=(",", ":")) if timeline else ""


def unpack_curve(text: str) -> dict[tuple[Stage, str], tuple[list[int], list[float]]]:
    """The inverse of ``pack_curve``, up to its rounding: steps and values by stage and metric."""
    series = {}
    for name, (steps, values) in json.loads(text).items():
        stage, _, metric = name.partition("/")
        series[stage, metric] = steps, values
    return series
