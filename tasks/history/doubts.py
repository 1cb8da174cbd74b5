"""Rows of the history that are well-formed and yet cannot be meant: to be looked at, not learned.

A history that was poisoned cannot be un-learned. What is far from all that is known of the same
dataset and model, and what no measurement gives, is put aside with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from tasks.history.packed import LARGEST

FINGERPRINTS = ("dataset_fingerprint", "model_fingerprint")
GROUP = ["dataset_id", "model_id"]
COSTS = ("cost_seconds", "cost_flops", "cost_tokens")
ENOUGH = 8  # scored rows of a pair of dataset and model, before one of them can be called odd
FAR = 1000.0  # times the spread of the scores, or the median of the costs
PERCENT = 10.0  # where nine in ten scores are shares, one above this is in other units
MOST_TEXT = 200  # characters of a feature that is a name

Reasons = dict[int, list[str]]


def doubts(rows: pd.DataFrame) -> Reasons:
    """Reasons to put rows aside, by the label of the row; rows without any are left out.

    Args:
        rows: with a unique index, of which every single value is well-formed (see the suite).
    """
    reasons: Reasons = defaultdict(list)
    for column in rows:
        if str(column).startswith(("meta.", "signal.")):
            _features(rows[column], str(column), reasons)
    if set(GROUP) <= set(rows) and "score" in rows:
        _far_scores(rows, reasons)
        for column in COSTS:
            if column in rows:
                _far_costs(rows, column, reasons)
    return dict(reasons)


def changed_inputs(rows: pd.DataFrame) -> Reasons:
    """Reasons to put rows of one run aside whose data or weights are not those of its first row."""
    reasons: Reasons = defaultdict(list)
    for column in FINGERPRINTS:
        given = rows[column].dropna() if column in rows else pd.Series(dtype=object)
        for row in given.index[given != given.iloc[0]] if len(given) else []:
            reasons[_label(row)].append(
                f"{column} is not that of the run's first trial: what it trained on, or from, "
                "changed in mid-run"
            )
    return dict(reasons)


def _features(values: pd.Series, name: str, reasons: Reasons) -> None:
    """Numbers within bounds, or names where all are names: one word turns numbers into names."""
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
                reasons[_label(row)].append(f"{name} is neither a number nor text")
            elif not all_words or len(value) > MOST_TEXT:
                short = value if len(value) <= 20 else f"{value[:20]}..."
                reasons[_label(row)].append(f"{name} is no number, but {short!r}")
    wrong = numbers.abs() > LARGEST
    if name.startswith("signal."):  # of a run that diverged, and read as not known
        wrong &= np.isfinite(numbers)
    for row in numbers.index[wrong.to_numpy()]:
        reasons[_label(row)].append(f"{name} is not between -{LARGEST:g} and {LARGEST:g}")


def _far_scores(rows: pd.DataFrame, reasons: Reasons) -> None:
    scored = rows[rows["score"].notna()]
    for (dataset, model), part in scored.groupby(_keys(scored), sort=False):
        scores = part["score"].astype(float)
        if len(scores) < ENOUGH:
            continue
        low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
        spread = max(high - low, abs(middle), 1.0)
        share = ((scores >= 0) & (scores <= 1)).mean() >= 0.9
        far = (scores - middle).abs() > (PERCENT if share else FAR * spread)
        for row, score in scores[far].items():
            reasons[_label(row)].append(
                f"score {score:g} is far from those of {dataset} with {model}, {low:g} to "
                f"{high:g}: another metric or unit?"
            )


def _far_costs(rows: pd.DataFrame, column: str, reasons: Reasons) -> None:
    """Of a whole schedule, so that trials of any length can be compared; a continued one has a part
    of its cost only."""
    cost = pd.to_numeric(rows[column], errors="coerce")
    known = (cost > 0) & rows["score"].notna()
    if "continued" in rows:
        known &= rows["continued"].map(lambda value: value is not True).astype(bool)
    if "fraction" in rows:
        fraction = pd.to_numeric(rows["fraction"], errors="coerce").fillna(1.0)
        known &= fraction > 0
        cost = cost / fraction.where(fraction > 0, 1.0)
    told = rows[known]
    for (dataset, model), part in cost[known].groupby(_keys(told), sort=False):
        if len(part) < ENOUGH:
            continue
        middle = float(part.median())
        for row in part.index[(part > FAR * middle) | (part < middle / FAR)]:
            reasons[_label(row)].append(
                f"{column} {part[row]:g} for a whole run is {FAR:g} times off the {middle:g} of "
                f"{dataset} with {model}: another unit?"
            )


def _keys(rows: pd.DataFrame) -> list[pd.Series]:
    return [rows[column].astype(str) for column in GROUP]


def _number(value: Any) -> float:
    if isinstance(value, str | bool | int | float | np.generic):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            return float("nan")
    return float("nan")


def _label(row: Any) -> int:
    return int(row)
