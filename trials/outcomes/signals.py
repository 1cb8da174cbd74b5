"""Early signals: what a curve says up to some step, as one flat row of numbers.

Levels are means over the last quarter of what a stage has run (at least 3 points), slopes and
curvatures come from a quadratic fitted to the last half, in units of the metric per full schedule.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan
from trials.spec.records import CurvePoint

LEVELS: dict[Stage, tuple[str, ...]] = {
    "sft": ("loss", "entropy", "grad_norm", "token_accuracy"),
    "dpo": ("loss", "margin", "accuracy"),
    "rl": (
        "reward",
        "reward_std",
        "groups_without_spread",
        "kl",
        "entropy",
        "grad_norm",
        "completion_length",
        "truncated",
    ),
}
TRENDS: dict[Stage, tuple[str, ...]] = {
    "sft": ("loss",),
    "dpo": ("loss",),
    "rl": ("reward", "entropy"),
}


Series = Mapping[tuple[Stage, str], tuple[Sequence[int], Sequence[float]]]
"""Curves by stage and metric: steps, which rise, and values."""


def signals_at(points: Sequence[CurvePoint], step: int, plan: StagePlan) -> dict[str, float]:
    """Signals of a trial that has run ``step`` steps of a plan; later points are not looked at.

    Returns:
        A flat mapping; a stage that has not begun has no entries but its progress, and DPO has
        none at all where the plan leaves it out.
    """
    series: dict[tuple[Stage, str], tuple[list[int], list[float]]] = {}
    for point in points:
        if point.step <= step:
            steps, values = series.setdefault((point.stage, point.metric), ([], []))
            steps.append(point.step)
            values.append(point.value)
    return signals_of(series, step, plan)


def signals_of(series: Series, step: int, plan: StagePlan) -> dict[str, float]:
    """Like `signals_at`, but from curves."""
    seen = {
        name: (steps[:count], values[:count])
        for name, (steps, values) in series.items()
        if (count := bisect_right(steps, step))
    }
    signals = {
        "sft_progress": min(step, plan.sft) / plan.sft if plan.sft else 1.0,
        "rl_progress": max(0, step - plan.start("rl")) / max(1, plan.rl),
    }
    if plan.dpo:
        signals["dpo_progress"] = min(max(0, step - plan.sft), plan.dpo) / plan.dpo
    for stage, metrics in LEVELS.items():
        for metric in metrics:
            if (stage, metric) in seen:
                values = seen[stage, metric][1]
                signals[f"{stage}_{metric}"] = statistics.fmean(values[-max(3, len(values) // 4) :])
    for stage, metrics in TRENDS.items():
        for metric in metrics:
            if len((curve := seen.get((stage, metric), ([], [])))[0]) >= 4:
                slope, curvature = _trend(*curve, plan.total)
                signals[f"{stage}_{metric}_slope"] = slope
                signals[f"{stage}_{metric}_curvature"] = curvature
    scores = sorted(
        pair
        for (_, metric), curve in seen.items()
        if metric == "score"
        for pair in zip(*curve, strict=True)
    )
    if scores:
        signals["score"] = scores[-1][1]
        signals["score_gain"] = scores[-1][1] - scores[0][1]
        signals["score_best"] = max(value for _, value in scores)
    return {name: float(value) for name, value in signals.items() if math.isfinite(value)}


def _trend(steps: Sequence[int], values: Sequence[float], total_steps: int) -> tuple[float, float]:
    """Slope and curvature at the last step of a quadratic through the last half (>= 4 points)."""
    last = max(4, len(steps) // 2)
    slope, curvature = _quadratic(tuple(steps[-last:]), total_steps) @ np.array(values[-last:])
    return float(slope), float(curvature)


@lru_cache(maxsize=1024)
def _quadratic(steps: tuple[int, ...], total_steps: int) -> np.ndarray:
    """The matrix that maps `n` values to slope and curvature of their least-squares fit.

    Shape (2, n); trials log at the same steps, so it is worth keeping.
    """
    x = (np.array(steps, dtype=float) - steps[-1]) / total_steps
    powers = np.stack([x**2, x, np.ones_like(x)], axis=1)
    curvature, slope, _ = np.linalg.pinv(powers)
    return np.stack([slope, 2 * curvature])
