"""Curricula over prompts in the order of their difficulty: `sec`, `dump`, `adarft`, `offline`.

Difficulty is a rank from 0 to 1. Arms are its fifths.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque

import numpy as np

from trials.curriculum.base import Curriculum, log_share, mean_advantage, softmax, weighted
from trials.curriculum.settings import setting
from trials.spec.hyperparameters import Hyperparameters

BINS = 5
DUMP_WINDOW = 300  # values of an arm that are remembered
ADARFT_SENSITIVITY = 2.0
ADARFT_POOL = (
    4  # times the prompts of a buffer: the nearest rows, of which the least used are taken
)


class Bandit(Curriculum):
    """An arm is a fifth of the rows by difficulty."""

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        super().__init__(difficulty, h, seed, buffers)
        self.arm = np.minimum((difficulty * BINS).astype(int), BINS - 1)
        self.size = np.maximum(np.bincount(self.arm, minlength=BINS), 1)

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        share = self.probabilities() / self.size
        return weighted(rng, free, count, log_share(share)[self.arm])

    def learn(self, rows: np.ndarray, rewards: np.ndarray) -> None:
        divided = self.h.rl_scale_rewards == "group"
        told: dict[int, list[float]] = {}
        for row in np.unique(rows):
            value = mean_advantage(rewards[rows == row], divided)
            told.setdefault(int(self.arm[row]), []).append(value)
        for arm, values in sorted(told.items()):
            self.reward(arm, values)

    @abstractmethod
    def probabilities(self) -> np.ndarray:
        """(BINS,): of the arms."""

    @abstractmethod
    def reward(self, arm: int, values: list[float]) -> None:
        """Learns the mean |A| of an arm's prompts."""


class SEC(Bandit):
    """Q <- a mean|A| + (1 - a) Q and P = softmax(Q / tau) (arXiv 2505.14970)."""

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        super().__init__(difficulty, h, seed, buffers)
        self.q = np.zeros(BINS)

    def probabilities(self) -> np.ndarray:
        return softmax(self.q, setting(self.h, "temperature"))

    def reward(self, arm: int, values: list[float]) -> None:
        rate = setting(self.h, "rate")
        self.q[arm] = rate * float(np.mean(values)) + (1.0 - rate) * self.q[arm]


class DUMP(Bandit):
    """P = softmax((mean|A| of the last 300 + sqrt(2 ln(N + 1) / (n + 1))) / tau), arXiv 2504.09710.

    n counts the prompts of an arm, N those of all.
    """

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        super().__init__(difficulty, h, seed, buffers)
        self.values = [deque[float](maxlen=DUMP_WINDOW) for _ in range(BINS)]
        self.count = np.zeros(BINS)

    def probabilities(self) -> np.ndarray:
        mean = np.array([float(np.mean(values)) if values else 0.0 for values in self.values])
        bonus = np.sqrt(2.0 * math.log(self.count.sum() + 1.0) / (self.count + 1.0))
        return softmax(mean + bonus, setting(self.h, "temperature"))

    def reward(self, arm: int, values: list[float]) -> None:
        self.values[arm].extend(values)
        self.count[arm] += len(values)


class AdaRFT(Curriculum):
    """d <- clip(d + eta tanh(2 (R - target))), and the rows nearest to it (arXiv 2504.05520).

    Of the nearest rows the least used are taken, as the same ones would come back while d stands
    still.
    """

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        super().__init__(difficulty, h, seed, buffers)
        self.level, self.used = 0.0, np.zeros(self.rows, dtype=int)

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        distance = np.abs(self.difficulty[free] - self.level)
        near = np.argsort(distance, kind="stable")[: ADARFT_POOL * count]
        least = np.lexsort((distance[near], self.used[free[near]]))
        return free[near[least[:count]]]

    def learn(self, rows: np.ndarray, rewards: np.ndarray) -> None:
        self.used[np.unique(rows)] += 1
        pull = math.tanh(ADARFT_SENSITIVITY * (float(rewards.mean()) - setting(self.h, "target")))
        self.level = min(max(self.level + setting(self.h, "rate") * pull, 0.0), 1.0)


class Offline(Curriculum):
    """From easy to hard: P ~ exp(-(d - progress)^2 / (2 t^2)) (after E2H, arXiv 2506.06632)."""

    def learn(self, rows: np.ndarray, rewards: np.ndarray) -> None:
        """Nothing: the order is known beforehand."""

    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        progress = min(1.0, buffer / self.buffers)
        away = (self.difficulty - progress) / setting(self.h, "temperature")
        return weighted(rng, free, count, -0.5 * away**2)
