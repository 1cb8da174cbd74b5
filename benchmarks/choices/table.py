"""Gains over the usual choice, paired by dataset, configuration and seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.choices.trials import Job
from benchmarks.choices.variants import GROUPS

Outcome = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What came of one variant."""

    variant: str
    datasets: int
    pairs: int
    score: float
    gain: float
    """Mean over datasets of the mean difference to the usual choice."""
    error: float
    """Half of the 95 % interval, by Student's t over datasets; NaN with one."""
    cost: float
    """Median ratio of FLOPs."""
    flat: float
    """Mean share of groups without spread; NaN without RL."""


def rows_of(group: str, jobs: Sequence[Job], results: Path) -> list[Row]:
    """A row for each variant that has pairs, the best first."""
    found = {job: json.loads(job.file(results).read_text("utf-8")) for job in jobs}
    usual = GROUPS[group].usual
    base = {(j.dataset, j.place, j.seed): o for j, o in found.items() if j.variant == usual}
    rows = []
    for variant in dict.fromkeys(job.variant for job in found):
        own = {(j.dataset, j.place, j.seed): o for j, o in found.items() if j.variant == variant}
        pairs = [(key[0], own[key], base[key]) for key in own if key in base]
        if pairs:
            rows.append(_row(variant, pairs))
    return sorted(rows, key=lambda row: -row.gain)


def _row(variant: str, pairs: Sequence[tuple[str, Outcome, Outcome]]) -> Row:
    differences: dict[str, list[float]] = {}
    for dataset, one, usual in pairs:
        differences.setdefault(dataset, []).append(one["score"] - usual["score"])
    means = np.array([np.mean(values) for values in differences.values()])
    n = len(means)
    error = math.nan
    if n > 1:
        error = float(stats.t.ppf(0.975, n - 1) * means.std(ddof=1) / math.sqrt(n))
    flat = [one["groups_without_spread"] for _, one, _ in pairs if "groups_without_spread" in one]
    return Row(
        variant=variant,
        datasets=n,
        pairs=len(pairs),
        score=float(np.mean([one["score"] for _, one, _ in pairs])),
        gain=float(means.mean()),
        error=error,
        cost=float(np.median([one["flops"] / usual["flops"] for _, one, usual in pairs])),
        flat=float(np.mean(flat)) if flat else math.nan,
    )
