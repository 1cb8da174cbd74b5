"""Logged metrics: the one that is the score, the curve of a run, and the step where it diverged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.history.curves import pack_curve
from tasks.translation.results import RowError
from tasks.translation.values import finite_number, is_nonfinite
from trials.io.problems import meant
from trials.spec.events import CURVE_METRICS
from trials.spec.kinds import Stage
from trials.spec.records import CurvePoint

# Evaluation metrics that are scores, higher is better, in the order in which they are looked for.
SCORE_METRICS = (
    *("accuracy", "exact_match", "score", "pass@1", "reward", "rewards/accuracies"),
    *("mean_accuracy", "mean_reward"),  # as sweepers call them
)
# A run whose last value of one of these is not a number diverged.
LOSS_METRICS = ("loss", "train_loss", "eval_loss", "grad_norm")

Log = Iterable[Mapping[str, Any]]


def find_score(
    available: Iterable[str],
    wanted: str | None,
    best: Any = None,
    greater_is_better: Any = None,
    anywhere: bool = False,
) -> tuple[str, float]:
    """The metric that is the score, and its sign, which is minus where lower is better.

    Lower is better where the user has a minus sign before the name, where the arguments say so of
    the metric for the best model (``best``), and for a loss. ``anywhere``: metrics need no prefix
    of evaluations, as a sweeper's have none.

    Raises:
        RowError: when there is none, naming what there is.
    """
    names = sorted(available)
    best = strip_eval_prefix(str(best or ""))
    lowest = best if str(greater_is_better).lower() == "false" else None
    if wanted is not None:
        name = wanted.removeprefix("-")
        low = wanted.startswith("-") or strip_eval_prefix(name) == lowest or name.endswith("loss")
        if name in names:
            return name, -1.0 if low else 1.0
        raise RowError(f"no metric {name}{meant(name, names)}; found: {', '.join(names) or 'none'}")
    plain = {strip_eval_prefix(name): name for name in names if name.startswith("eval")}
    if anywhere:
        plain = {strip_eval_prefix(name): name for name in names} | plain
    candidates = SCORE_METRICS if not best or best.endswith("loss") else (best, *SCORE_METRICS)
    found = next((name for name in candidates if name in plain), None)
    if found is None:
        raise RowError(
            f"no score among its metrics ({', '.join(plain.values()) or 'no evaluation'}): "
            "name one with --score, as --score eval_x, or --score=-eval_loss where lower is better"
        )
    return plain[found], -1.0 if found == lowest else 1.0


def strip_eval_prefix(name: str) -> str:
    """A metric's name without ``eval_`` or ``eval/`` before it."""
    return re.sub(r"^eval[_/]", "", name)


def values_of(log: Log, name: str) -> list[float]:
    """All finite values of a metric, in the order of the log."""
    values = (finite_number(entry.get(name)) for entry in log)
    return [value for value in values if value is not None]


def make_curve(log: Log, stage: Stage, score: str, sign: float) -> str:
    """The packed curve of logged entries, each with a ``step``; evaluations become ``score``."""
    points: dict[tuple[str, int], float] = {}
    for entry in log:
        step = finite_number(entry.get("step"))
        if step is None or step < 1:
            continue
        for name, value in entry.items():
            number = finite_number(value)
            metric = CURVE_METRICS.get(name.removeprefix("train/"))
            # The last value of a step counts: a run that was resumed logs some steps again.
            if number is not None and name == score:
                points["score", int(step)] = sign * number
            elif number is not None and metric is not None:
                points[metric, int(step)] = number
    return pack_curve(
        [
            CurvePoint(stage=stage, step=step, metric=metric, value=value)
            for (metric, step), value in sorted(points.items(), key=lambda point: point[0][1])
        ]
    )


def divergence_step(log: Log, *scores: str) -> int | None:
    """First step of the run of non-finite losses or scores that a log ends with; None without one.

    A mixed-precision run skips a step with an infinite gradient now and then, so only the end of
    each metric's log counts.
    """
    first: dict[str, int] = {}
    for entry in log:
        step = int(finite_number(entry.get("step")) or 0)
        for name, value in entry.items():
            bare = strip_eval_prefix(name.removeprefix("train/"))
            if name not in scores and bare not in LOSS_METRICS:
                continue
            if is_nonfinite(value):
                first.setdefault(name, step)
            elif finite_number(value) is not None:
                first.pop(name, None)
    return min(first.values(), default=None)


def null_to_nan(log: Log) -> list[dict[str, Any]]:
    """A log with NaN where JSON has null: for losses, and for metrics that had a number before.

    Some trainers write null for NaN; a gradient norm of null is one that was never known.
    """
    numeric = set(LOSS_METRICS) - {"grad_norm"}
    entries = []
    for entry in log:
        numeric |= {name for name, value in entry.items() if finite_number(value) is not None}
        entries.append(
            {
                name: math.nan if value in (None, "null") and name in numeric else value
                for name, value in entry.items()
            }
        )
    return entries
