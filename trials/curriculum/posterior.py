"""Curricula that keep a Beta posterior of every prompt's pass rate: `thompson`, `cures`, `none`.

    a <- L a + (1 - L) a0 + successes,   b <- L b + (1 - L) b0 + failures,   L = 1 - rate

for the prompts of a buffer, with a0 = b0 = 1; a reward between 0 and 1 counts as that share of a
success, one outside as the nearer end. What was seen long ago fades, as the policy changes.
"""

from __future__ import annotations

import numpy as np

from trials.curriculum.base import Curriculum, weighted
from trials.curriculum.settings import setting
from trials.spec.hyperparameters import Hyperparameters

PRIOR = 1.0  # a0 and b0


class Posterior(Curriculum):
    """Any choice, with the posterior that it, or the allocation of rollouts, is made from."""

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        super().__init__(difficulty, h, seed, buffers)
        self.a, self.b = np.full(self.rows, PRIOR), np.full(self.rows, PRIOR)

    def learn(self, rows: np.ndarray, rewards: np.ndarray) -> None:
        kept = 1.0 - setting(self.h, "rate")
        right = np.clip(rewards, 0.0, 1.0)
        for row in np.unique(rows):
            own = right[rows == row]
            self.a[row] = kept * self.a[row] + (1.0 - kept) * PRIOR + own.sum()
            self.b[row] = kept * self.b[row] + (1.0 - kept) * PRIOR + (1.0 - own).sum()

    def expected(self) -> np.ndarray:
        """Posterior mean."""
        found: np.ndarray = self.a / (self.a + self.b)
        return found


class Uniform(Posterior):
    """No preference: for resampling and for the allocation of rollouts alone."""

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        return rng.choice(free, count, replace=False)


class Thompson(Posterior):
    """Draw a pass rate of each prompt, take those nearest a target (MoPPS, arXiv 2507.04632)."""

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        drawn = rng.beta(self.a[free], self.b[free])
        distance = np.abs(drawn - setting(self.h, "target"))
        return free[np.argsort(distance, kind="stable")[:count]]


class CurES(Posterior):
    """P ~ exp(sqrt(p (1 - p)) / t) of the posterior mean p (CurES, arXiv 2510.01037)."""

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        p = self.expected()
        return weighted(rng, free, count, np.sqrt(p * (1.0 - p)) / setting(self.h, "temperature"))
