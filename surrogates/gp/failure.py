"""Probability that a trial fails (diverges, runs out of memory, ...).

A Beta estimate smoothed by a Gaussian kernel on the encoded unit cube:

    p(x) = (a p0 + sum_i w_i k(x, x_i) f_i) / (a + sum_i w_i k(x, x_i)),
    k(x, x') = exp(-|x - x'|^2 / (2 h^2 d)),

f_i = 1 for a failed trial, w_i < 1 for trials of past datasets, a the weight of the prior rate p0.
Failures enter here and nowhere else: never as a very bad score in the Gaussian process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

BANDWIDTH = 0.2
PRIOR_WEIGHT = 1.0
PRIOR_RATE = 0.05
VETO = 0.5  # above this a trial is worth its cost only if nothing safer is left
VETO_PENALTY = 1e3  # beyond any difference in log expected improvement


@dataclass(frozen=True)
class FailureModel:
    """Kernel-smoothed failure rate over t trials encoded in d columns."""

    cube: np.ndarray
    """`t x d`."""
    failed: np.ndarray
    weight: np.ndarray
    """(t,): 1 for this dataset's trials, less for past ones."""

    def probability(self, cube: np.ndarray) -> np.ndarray:
        """Failure probability of `n x d` encoded configurations, shape (n,).

        Zero everywhere until something has failed: no evidence, no influence on the search.
        """
        if not self.failed.any():
            return np.zeros(len(cube))
        squared = cdist(cube, self.cube, "sqeuclidean") / cube.shape[1]
        kernel = np.exp(-squared / (2 * BANDWIDTH**2)) * self.weight
        hits = kernel @ self.failed.astype(np.float64)
        return (PRIOR_WEIGHT * PRIOR_RATE + hits) / (PRIOR_WEIGHT + kernel.sum(axis=1))


def log_survival(probability: np.ndarray) -> np.ndarray:
    """log(1 - p), the term of the acquisition, less a veto where p > 1/2, shape (n,).

    The veto is needed because improvement is unbounded where nothing ever succeeds: a model that
    extrapolates a trend into a failing region would pay for trial after trial there.
    """
    risk = np.minimum(probability, 1.0 - 1e-6)
    return np.log1p(-risk) - VETO_PENALTY * (risk > VETO)


def past_weight(trials: int) -> float:
    """Weight of one past trial: all of them together count like at most 20 of this dataset's."""
    return min(0.5, 20.0 / max(trials, 1))
