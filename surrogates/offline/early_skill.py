"""Skill of forecasts of final scores on held-out tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from surrogates.core.metrics import spearman
from surrogates.history.calibration import Z90, Calibration
from surrogates.history.prefixes import PrefixRows


@dataclass(frozen=True)
class RungSkill:
    """Skill on held-out datasets at one fraction of the schedule."""

    fraction: float
    rows: int
    spearman: float
    """Mean over held-out datasets, predicted against actual final score."""
    explained: float
    """Mean share of the within-dataset variance of final scores, in [0, 1]."""
    coverage90: float
    """Share of final scores inside the 90 % interval, calibrated on the other datasets."""
    mae: float
    """Mean absolute error in units of the dataset's standard deviation."""
    spearman_last: float
    """Of the baseline, the last score seen."""
    mae_last: float
    excess: float
    """v: held-out squared error beyond the model's own variance, in squared task scales."""
    shared: float
    """Share of the squared error that is the same for all trials of a task, in [0, 1]."""
    shrink: float = 1.0
    """lambda: share of the forecast change that is kept, in [0, 1]."""
    change: float = 0.0
    """Median over tasks of the mean change to come, in task scales; 0 if the model includes it."""
    saved: float = math.nan
    """Share of all trials' cost that would not be paid if each stopped here; NaN if unknown."""


def evaluate_forecasts(data: PrefixRows, mean: np.ndarray, sd: np.ndarray) -> pd.DataFrame:
    """Skill on each group at each fraction where at least four of its trials have a forecast.

    Mean (NaN where there is none) and calibrated sd are forecasts of `data.target`, each (n,).
    """
    known = np.flatnonzero(np.isfinite(mean))
    keys = pd.DataFrame({"rung": data.rung[known], "group": data.group[known].astype(str)})
    records = []
    for _, part in keys.groupby(["rung", "group"]):
        rows = known[part.index]
        if len(rows) >= 4 and np.ptp(data.final[rows]) > 0:
            first = rows[0]
            where = {"fraction": float(data.rung[first]), "group": str(data.group[first])}
            where["dataset"] = data.dataset[first]
            records.append(where | _group_metrics(data, mean, sd, rows))
    return pd.DataFrame(records)


def rung_skills(
    table: pd.DataFrame, calibration: Calibration, changes: Mapping[float, float]
) -> list[RungSkill]:
    """Means over groups of `evaluate_forecasts`, with the corrections of a forecast."""
    out = []
    for r in sorted(set(table["fraction"])) if len(table) else []:
        part = table[table["fraction"] == r]
        means = part.drop(columns=["fraction", "group", "dataset", "rows"]).mean()
        values = {str(k): float(v) for k, v in means.items()}
        shared = values.pop("bias2") / max(values.pop("error2"), 1e-12)
        out.append(
            RungSkill(
                fraction=r,
                rows=int(part["rows"].sum()),
                excess=calibration.excess[r],
                shrink=calibration.shrink[r],
                change=changes[r],
                shared=shared,
                **values,
            )
        )
    return out


def _group_metrics(
    data: PrefixRows, mean: np.ndarray, sd: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """Skill on one held-out group at one fraction, the rows at these indices."""
    actual, error = data.final[rows], data.target[rows] - mean[rows]
    last = actual - data.target[rows] * data.scale[rows]
    missed = error * data.scale[rows]
    return {
        "rows": len(rows),
        "spearman": spearman(actual - missed, actual),
        # An error that all trials of a task share does not hurt a choice among them.
        "explained": max(0.0, 1.0 - float(np.var(missed) / np.var(actual))),
        "coverage90": float(np.mean(np.abs(error) <= Z90 * sd[rows])),
        "mae": float(np.mean(np.abs(error))),
        "spearman_last": spearman(last, actual),
        "mae_last": float(np.mean(np.abs(data.target[rows]))),
        "bias2": float(np.mean(error)) ** 2,
        "error2": float(np.mean(error**2)),
        "saved": float(1.0 - np.sum(data.cost[rows]) / np.sum(data.full_cost[rows])),
    }
