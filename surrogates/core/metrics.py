"""Metrics of rankings. Pure functions of two arrays of length n; more is better in both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def kendall_tau(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Kendall's tau-b in [-1, 1]: pairs in the right order minus pairs in the wrong one.

    tau_b = (C - D) / sqrt((C + D + T_x)(C + D + T_y)), with T the pairs tied in one input only.
    0 where either input is constant or shorter than 2 (no order to agree on).
    """
    x, y = _pair(predicted, actual)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.kendalltau(x, y).statistic)


def ndcg(predicted: ArrayLike, actual: ArrayLike, k: int = 5) -> float:
    """Normalised discounted cumulative gain of the first k by prediction, in [0, 1].

    DCG@k = sum_{i=1..k} gain_i / log2(i + 1); the gain is the actual value scaled to [0, 1]
    within the input; divided by the DCG of the best possible order. 1 where `actual` is constant.
    """
    x, y = _pair(predicted, actual)
    if len(y) == 0 or np.ptp(y) == 0:
        return 1.0
    gain = (y - y.min()) / np.ptp(y)
    k = min(k, len(y))
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    order = np.argsort(-x, kind="stable")[:k]
    return float(gain[order] @ discount / (np.sort(gain)[::-1][:k] @ discount))


def regret_at(predicted: ArrayLike, actual: ArrayLike, k: int = 1) -> float:
    """Normalised regret of the first k choices, in [0, 1].

    (max y - max of y over the k highest predictions) / (max y - min y); 0 where y is constant.
    """
    x, y = _pair(predicted, actual)
    if len(y) == 0 or np.ptp(y) == 0:
        return 0.0
    chosen = np.argsort(-x, kind="stable")[:k]
    return float((y.max() - y[chosen].max()) / np.ptp(y))


def pearson(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Pearson's correlation; 0 where either input is constant or shorter than 2."""
    x, y = _pair(predicted, actual)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    # To the unit interval first: squares of tiny or huge numbers would leave the float range.
    x, y = (v / np.abs(v).max() for v in (x, y))
    x, y = ((v - v.mean()) / np.ptp(v) for v in (x, y))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / norm, -1.0, 1.0)) if norm > 0 else 0.0


def spearman(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Spearman's rank correlation; 0 where either input is constant or shorter than 2."""
    x, y = _pair(predicted, actual)
    return pearson(stats.rankdata(x), stats.rankdata(y)) if len(x) else 0.0


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Ranks mapped to standard normal quantiles, Phi^-1((rank - 1/2) / n); ties share a rank."""
    return stats.norm.ppf((stats.rankdata(values) - 0.5) / len(values))


def standard_scores(values: np.ndarray) -> np.ndarray:
    """(value - mean) / sd; zeros where all are equal.

    Rounded to the nine digits that survive a change of unit in floating point.
    """
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    return np.round((values - values.mean()) / values.std(), 9)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"expected two vectors of one length, got shapes {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("expected finite numbers; drop failed trials before evaluating a ranking.")
    return x, y
