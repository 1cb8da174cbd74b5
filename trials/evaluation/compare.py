"""Comparing two models on the same rows.

The difference of two scores on the same rows is known better than either score: rows that are easy
for both, or hard for both, cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Differences this close are the same number; outcomes such as 0.1 + 0.2 are not exact.
TOLERANCE = 1e-9
PERMUTATIONS = 9_999


@dataclass(frozen=True)
class PairedDifference:
    """The difference a - b of the scores of two models on the same rows."""

    mean: float
    se: float
    """s / sqrt(n); NaN for a single row, which shows no spread."""
    rows: int
    p_value: float
    """Two-sided, of the hypothesis that a and b are exchangeable on every row."""


def paired_difference(a: Sequence[float], b: Sequence[float]) -> PairedDifference:
    """Compares the outcomes of two models, one finite score each for the same rows in one order.

    Raises:
        ValueError: when the numbers of rows differ, there are none, or a score is not finite.
    """
    if len(a) != len(b):
        raise ValueError(
            f"{len(a)} outcomes cannot be paired with {len(b)}; expected scores of the same rows: "
            "measure both models with the same dataset, split and number of rows"
        )
    if not len(a):
        raise ValueError("there are no outcomes to compare; expected at least one row")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if not np.isfinite(difference).all():
        row = int(np.flatnonzero(~np.isfinite(difference))[0])
        raise ValueError(f"row {row} has outcomes {a[row]} and {b[row]}; expected finite numbers")
    n = len(difference)
    return PairedDifference(
        mean=float(difference.mean()),
        se=float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan,
        rows=n,
        p_value=_sign_flip_p_value(difference),
    )


def _sign_flip_p_value(difference: np.ndarray) -> float:
    """Two-sided p-value of the paired permutation test (Fisher, 1935, The Design of Experiments).

    If the models are exchangeable, the sign of each difference is a fair coin. When all rows that
    differ do so by the same amount, as with right and wrong answers, the number of positive ones
    is binomial and the p-value exact: McNemar's exact test. Otherwise signs are flipped at random
    (seeded), and the observed signs count as one more flip, which keeps the test valid (Phipson
    and Smyth, 2010, Statistical Applications in Genetics and Molecular Biology 9(1), article 39).
    """
    sizes = np.abs(difference[np.abs(difference) > TOLERANCE])
    if not len(sizes):
        return 1.0
    if sizes.max() - sizes.min() <= TOLERANCE:
        positive = int((difference > TOLERANCE).sum())
        fewer = min(positive, len(sizes) - positive)
        tail = sum(math.comb(len(sizes), i) for i in range(fewer + 1))
        return min(1.0, 2 * tail / 2 ** len(sizes))
    rng = np.random.default_rng(0)
    observed = abs(difference.sum()) - TOLERANCE
    at_once = max(1, 1_000_000 // len(sizes))  # permutations in memory
    as_extreme = 0
    for start in range(0, PERMUTATIONS, at_once):
        flips = rng.random((min(at_once, PERMUTATIONS - start), len(sizes))) < 0.5
        totals = np.where(flips, sizes, -sizes).sum(axis=1)
        as_extreme += int((np.abs(totals) >= observed).sum())
    return (1 + as_extreme) / (1 + PERMUTATIONS)


def row_adjusted_se(outcomes: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    """Standard error of a score in comparisons with scores of other models on the same rows.

    With K models in all and outcomes x_ij = m_i + r_j + e_ij, r_j what row j is to all of them: the
    sd over rows of x_ij - mean_k x_kj, times sqrt(K / (K - 1)), over sqrt(n). A score's plain
    standard error holds the luck of the draw of rows too, which is the same for all.

    Args:
        outcomes: one score for each row, n values.
        others: the same of other models; those of other lengths are left out.

    Returns:
        At most the plain standard error, and at least a tenth of it: two models that agree on
        every row do not prove that the score is certain.
    """
    x = np.asarray(outcomes, dtype=np.float64)
    plain = float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else 0.0
    beside = [np.asarray(o, dtype=np.float64) for o in others if len(o) == len(x)]
    if not beside or not plain:
        return plain
    k = len(beside) + 1
    left = x - (x + np.sum(beside, axis=0)) / k
    own = float(left.std(ddof=1)) * math.sqrt(k / (k - 1)) / math.sqrt(len(x))
    return min(plain, max(own, plain / 10))
