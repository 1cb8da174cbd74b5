"""Early signals: what a curve says up to some step, as one flat row of numbers.

Levels are means over the last quarter of what a stage has run (at least 3 points), slopes and
curvatures come from a quadratic fitted to the last half, in units of the metric per full schedule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from trials.plan import StagePlan
from trials.records import CurvePoint, Stage

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


def signals_at(points: Sequence[CurvePoint], step: int, plan: StagePlan) -> dict[str, float]:
    """Signals of a trial that has run ``step`` steps of a plan; later points are not looked at.

    Returns:
        A flat mapping; a stage that has not begun has no entries but its progress, and DPO has
        none at all where the plan leaves it out.
    """
    series: dict[tuple[Stage, str], list[tuple[int, float]]] = defaultdict(list)
    for point in points:
        if point.step <= step:
            series[point.stage, point.metric].append((point.step, point.value))
    signals = {
        "sft_progress": min(step, plan.sft) / plan.sft if plan.sft else 1.0,
        "rl_progress": max(0, step - plan.start("rl")) / max(1, plan.rl),
    }
    if plan.dpo:
        signals["dpo_progress"] = min(max(0, step - plan.sft), plan.dpo) / plan.dpo
    for stage, metrics in LEVELS.items():
        for metric in metrics:
            if values := series.get((stage, metric)):
                signals[f"{stage}_{metric}"] = _level([value for _, value in values])
    for stage, metrics in TRENDS.items():
        for metric in metrics:
            if len(values := series.get((stage, metric), [])) >= 4:
                slope, curvature = _trend(values, plan.total)
                signals[f"{stage}_{metric}_slope"] = slope
                signals[f"{stage}_{metric}_curvature"] = curvature
    scores = sorted(
        pair for (_, metric), values in series.items() if metric == "score" for pair in values
    )
    if scores:
        signals["score"] = scores[-1][1]
        signals["score_gain"] = scores[-1][1] - scores[0][1]
        signals["score_best"] = max(value for _, value in scores)
    return {name: float(value) for name, value in signals.items() if np.isfinite(value)}


def _level(values: list[float]) -> float:
    return float(np.mean(values[-max(3, len(values) // 4) :]))


def _trend(values: list[tuple[int, float]], total_steps: int) -> tuple[float, float]:
    """Slope and curvature at the last step of a quadratic through the last half (>= 4 points)."""
    recent = values[-max(4, len(values) // 2) :]
    x = np.array([step for step, _ in recent], dtype=float) / total_steps
    y = np.array([value for _, value in recent])
    quadratic, linear, _ = np.polyfit(x - x[-1], y, 2)
    return float(linear), float(2 * quadratic)
