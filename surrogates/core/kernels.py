"""The covariance that all past tasks share; see `surrogates.offline.past_tasks`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kernel:
    """The shared kernel: main effects of columns and one joint term."""

    amplitudes: np.ndarray
    """(d + 1,): a_1 to a_d, then a_0; 0 where a column has no effect."""
    lengthscale: float
    """l, in units of the encoded cube."""
    joint_lengthscale: float
    """l_0, in units of the encoded cube."""
    noise: float
    """t: variance beyond the known standard errors."""

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Covariance of f at `n x d` and `m x d` points, `n x m`."""
        out = self.amplitudes[-1] * matern(distance(a, b) / self.joint_lengthscale)
        for j in np.flatnonzero(self.amplitudes[:-1]):
            out += self.amplitudes[j] * matern(np.abs(a[:, j, None] - b[:, j]) / self.lengthscale)
        return out


def matern(r: np.ndarray) -> np.ndarray:
    """Matern-5/2 correlations at distances in units of the lengthscale."""
    r = math.sqrt(5.0) * r
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances of `n x d` and `m x d` points, `n x m`."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.sqrt(squared.clip(min=0.0))


def default_joint_lengthscale(d: int) -> float:
    """Twice the root mean squared distance of two uniform points of the d-cube: nearly linear."""
    return 2.0 * math.sqrt(d / 6.0)
