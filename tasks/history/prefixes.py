"""Prefixes of past trials, from their recorded curves: pure functions of a history row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.history.curves import unpack_curve
from trials.outcomes.signals import Series, signals_of
from trials.spec.hyperparameters import is_unset
from trials.spec.kinds import STAGES, Stage
from trials.spec.plan import StagePlan

# Fractions of recorded trials at which the early predictor is trained.
PREFIX_FRACTIONS = (0.1, 0.2, 0.3, 0.5)
LENGTH_UNITS = ("steps", "epochs")  # of a stage, where its length is not given as a share
COST_COLUMNS = ("cost_seconds", "cost_flops", "cost_tokens")


def prefix_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The prefixes of a full-length row as rows: signals, score and cost as they were then."""
    series = unpack_curve(row["curve"])
    plan = stage_plan(row, series)
    scores = {
        step: value
        for (_, metric), curve in series.items()
        if metric == "score"
        for step, value in zip(*curve, strict=True)
    }
    final = {name for name in row if name.startswith("signal.")} | {"score_se", "curve", "timeline"}
    kept = {name: value for name, value in row.items() if name not in final}
    costs = cost_at_step(row)
    prefixes = []
    for fraction in PREFIX_FRACTIONS:
        # Where the trial was scored: at the fraction itself, or at the boundary that follows it.
        steps = (round(fraction * plan.total), plan.last_step(fraction))
        step = next((step for step in steps if step in scores), None)
        if step is None:
            continue
        signals = signals_of(series, step, plan)
        prefix = kept | {"fraction": fraction, "score": scores[step]}
        prefix |= {name: row[name] * fraction for name in COST_COLUMNS if name in row}
        prefix |= costs.get(step, {})
        prefixes.append(prefix | {f"signal.{name}": value for name, value in signals.items()})
    return prefixes


def stage_plan(row: Mapping[str, Any], series: Series) -> StagePlan:
    """Steps of each stage of a trial that ran to its end, from its row and curve alone.

    Without DPO the share of SFT tells them. Steps and epochs, which need the dataset, and DPO are
    read off the curve: a stage's last point is its last step.
    """

    def given(name: str) -> Any:
        value = row.get(f"config.{name}")
        return None if is_unset(value) else value

    boundary = int(given("rl_updates_per_generation") or 1) * int(given("rl_num_iterations") or 1)
    counted = any(given(f"{stage}_{way}") is not None for stage in STAGES for way in LENGTH_UNITS)
    share, ends = given("sft_share"), [_last_step(series, stage) for stage in STAGES]
    if share is not None and not counted and not given("dpo_share"):
        total = row.get("total_steps")
        total = int((max(ends) if is_unset(total) else total) or 0)
        sft = round(float(share) * total)
        return StagePlan(sft, 0, total - sft, boundary)
    sft, dpo, rl = ends[0], max(ends[:2]), max(ends)
    return StagePlan(sft, dpo - sft, rl - dpo, boundary)


def _last_step(series: Series, stage: Stage) -> int:
    steps = (step for (of, _), (steps, _) in series.items() if of == stage for step in steps)
    return max(steps, default=0)


def cost_at_step(row: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Seconds and FLOPs that a trial had used, by the step of each evaluation."""
    timeline = row.get("timeline")
    if not isinstance(timeline, str) or not timeline:
        return {}
    return {
        at: {"cost_seconds": seconds, "cost_flops": flops}
        for at, seconds, flops in zip(*json.loads(timeline), strict=True)
    }
