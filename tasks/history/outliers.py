"""Outliers of the history: rows that are well-formed and yet implausible.

A poisoned history cannot be un-learned. Rows far from all others of the same dataset and model, or
with features that no measurement gives, are quarantined with the reason, for people to look at.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from tasks.history.curves import MAX_VALUE
from tasks.history.prefixes import COST_COLUMNS

FINGERPRINTS = ("dataset_fingerprint", "model_fingerprint")
GROUP = ["dataset_id", "model_id"]
MIN_GROUP_SIZE = 8  # scored rows of a dataset and model, before one of them can be an outlier
MAX_RATIO = 1000.0  # times the spread of the scores, or the median of the costs
MAX_SHARE_DISTANCE = 10.0  # where nine in ten scores are shares, one farther off is in other units
MAX_TEXT = 200  # characters of a feature that is a name

Reasons = dict[Any, list[str]]  # by the label of a row


def find_outliers(rows: pd.DataFrame) -> Reasons:
    """Reasons to quarantine well-formed rows (see the suite), by their label in a unique index."""
    reasons: Reasons = defaultdict(list)
    for column in rows:
        if str(column).startswith(("meta.", "signal.")):
            _features(rows[column], str(column), reasons)
    if set(GROUP) <= set(rows) and "score" in rows:
        _far_scores(rows, reasons)
        for column in COST_COLUMNS:
            if column in rows:
                _far_costs(rows, column, reasons)
    return dict(reasons)


def changed_fingerprints(rows: pd.DataFrame) -> Reasons:
    """Reasons to quarantine rows of a run whose data or weights are not those of its first row.

    Of a run on several models each has weights of its own.
    """
    reasons: Reasons = defaultdict(list)
    models = rows["model_id"].astype(str) if "model_id" in rows else pd.Series("", rows.index)
    for column in FINGERPRINTS:
        given = rows[column].dropna() if column in rows else pd.Series(dtype=object)
        first = given.groupby(models[given.index]).transform("first")
        for row in given.index[given != first]:
            reasons[row].append(
                f"{column} is not that of the run's first trial: what it trained on, or from, "
                "changed in mid-run"
            )
    return dict(reasons)


def _features(values: pd.Series, name: str, reasons: Reasons) -> None:
    """Adds features beyond the bounds; text among numbers; anything that is neither.

    A single word would turn a feature's numbers into the categories of a nominal one.
    """
    given = values[values.notna()]
    if pd.api.types.is_bool_dtype(given) or given.empty:
        return
    if pd.api.types.is_numeric_dtype(given):
        numbers = given.astype(float)
    else:
        numbers = given.map(_number).astype(float)
        words = numbers.isna()
        all_words = words.mean() > 0.5
        for row, value in given[words].items():
            if not isinstance(value, str):
                reasons[row].append(f"{name} is neither a number nor text")
            elif not all_words or len(value) > MAX_TEXT:
                short = value if len(value) <= 20 else f"{value[:20]}..."
                reasons[row].append(f"{name} is not a number, but {short!r}")
    wrong = numbers.abs() > MAX_VALUE
    if name.startswith("signal."):  # of a run that diverged, and read as not known
        wrong &= np.isfinite(numbers)
    for row in numbers.index[wrong.to_numpy()]:
        reasons[row].append(f"{name} is not between -{MAX_VALUE:g} and {MAX_VALUE:g}")


def _far_scores(rows: pd.DataFrame, reasons: Reasons) -> None:
    scored = rows[rows["score"].notna()]
    for (dataset, model), part in scored.groupby(_keys(scored), sort=False):
        scores = part["score"].astype(float)
        if len(scores) < MIN_GROUP_SIZE:
            continue
        low, median, high = np.quantile(scores, [0.05, 0.5, 0.95])
        spread = max(high - low, abs(median), 1.0)
        share = ((scores >= 0) & (scores <= 1)).mean() >= 0.9
        far = (scores - median).abs() > (MAX_SHARE_DISTANCE if share else MAX_RATIO * spread)
        for row, score in scores[far].items():
            reasons[row].append(
                f"score {score:g} is far from those of {dataset} with {model}, {low:g} to "
                f"{high:g}: another metric or unit?"
            )


def _far_costs(rows: pd.DataFrame, column: str, reasons: Reasons) -> None:
    """Adds costs far from the median of the same dataset and model.

    Costs are divided by the fraction, so that trials of any length compare; a continued trial has
    only a part of its own.
    """
    cost = pd.to_numeric(rows[column], errors="coerce")
    known = (cost > 0) & rows["score"].notna()
    if "continued" in rows:
        known &= rows["continued"].map(lambda value: value is not True).astype(bool)
    if "fraction" in rows:
        fraction = pd.to_numeric(rows["fraction"], errors="coerce").fillna(1.0)
        known &= fraction > 0
        cost = cost / fraction.where(fraction > 0, 1.0)
    for (dataset, model), part in cost[known].groupby(_keys(rows[known]), sort=False):
        if len(part) < MIN_GROUP_SIZE:
            continue
        median = float(part.median())
        for row in part.index[(part > MAX_RATIO * median) | (part < median / MAX_RATIO)]:
            reasons[row].append(
                f"{column} {part[row]:g} for a whole run is {MAX_RATIO:g} times off the "
                f"{median:g} of {dataset} with {model}: another unit?"
            )


def _keys(rows: pd.DataFrame) -> list[pd.Series]:
    return [rows[column].astype(str) for column in GROUP]


def _number(value: Any) -> float:
    if not isinstance(value, str | bool | int | float | np.generic):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
