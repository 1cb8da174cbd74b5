"""Means over datasets with their uncertainty. Pure functions; a dataset is one observation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats


def mean_se(values: np.ndarray | Sequence[float], name: str) -> dict[str, float]:
    """Mean over datasets, its standard error (NaN for one) and their number, NaN left out."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    mean = float(kept.mean()) if len(kept) else float("nan")
    se = float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else float("nan")
    return {name: mean, f"{name}_se": se, "datasets": len(kept)}


def group_means(table: pd.DataFrame, by: list[str], names: Sequence[str]) -> pd.DataFrame:
    """Mean and standard error over the rows of each group: NAME and NAME_se of each column."""
    grouped = table[list(names)].astype(float).groupby([table[key] for key in by], sort=False)
    found = grouped.agg(["mean", "sem"])
    found.columns = [name if kind == "mean" else f"{name}_se" for name, kind in found.columns]
    return found


def jackknife_se(values: np.ndarray) -> float:
    """Standard error from the values without each dataset: sqrt((D - 1)/D sum (v - mean)^2)."""
    count = len(values)
    if count < 2:
        return float("nan")
    return float(np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum()))


def interval95(mean: float, se: float, count: int) -> tuple[float, float]:
    """Student's 95 % confidence interval of a mean of `count` values; NaN for fewer than two."""
    if count < 2 or not np.isfinite(se):
        return float("nan"), float("nan")
    reach = float(stats.t.ppf(0.975, count - 1)) * se
    return mean - reach, mean + reach
