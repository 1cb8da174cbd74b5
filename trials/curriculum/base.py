"""What all curricula share: seeded draws without repetition, and a share of them uniform.

A curriculum's state is a fold over what was observed, in order: shown the same rollouts again, it
is the same. Its draws depend on the seed and the number of the buffer alone, so a trial that is
continued chooses what the straight one chooses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from trials.spec.hyperparameters import Hyperparameters

EPSILON = 1e-4  # that TRL adds to a group's standard deviation


class Curriculum(ABC):
    """Chooses training rows for each buffer of completions.

    Args:
        difficulty: (n,) of every training row, from 0, the easiest, to 1: its rank.
        h: hyperparameters of the trial.
        seed: of the trial.
        buffers: of completions in the full RL stage.
    """

    def __init__(self, difficulty: np.ndarray, h: Hyperparameters, seed: int, buffers: int) -> None:
        self.difficulty, self.h, self.seed, self.buffers = difficulty, h, seed, max(1, buffers)
        self.seen = np.zeros(self.rows, dtype=bool)

    @property
    def rows(self) -> int:
        """Number of training rows, n."""
        return len(self.difficulty)

    def choose(
        self, buffer: int, count: int, without: Sequence[int] = (), turn: int = 0
    ) -> list[int]:
        """Rows for the prompts of a buffer, distinct as far as there are enough.

        Args:
            buffer: number of the buffer in the stage, from 0.
            count: prompts.
            without: rows that are not wanted, if there are enough others.
            turn: draws for one buffer are made anew in each turn.
        """
        rng = np.random.default_rng([self.seed, buffer, turn])
        free = np.setdiff1d(np.arange(self.rows), np.asarray(without, dtype=int))
        if len(free) < count:
            free = np.arange(self.rows)
        found: list[int] = []
        while count - len(found) >= len(free):  # fewer rows than prompts
            found += rng.permutation(free).tolist()
        rest = count - len(found)
        uniform = round(self.h.rl_curriculum_uniform * rest)
        preferred = self.prefer(rng, free, rest - uniform, buffer)
        others = np.setdiff1d(free, preferred)
        found += [*preferred.tolist(), *rng.choice(others, uniform, replace=False).tolist()]
        return found

    def observe(self, rows: Sequence[int], rewards: Sequence[float]) -> None:
        """Learns from the completions of a buffer: the row of each, and its task reward."""
        at, values = np.asarray(rows, dtype=int), np.asarray(rewards, dtype=float)
        self.seen[at] = True
        self.learn(at, values)

    @abstractmethod
    def prefer(
        self, rng: np.random.Generator, free: np.ndarray, count: int, buffer: int
    ) -> np.ndarray:
        """`count` different ones of the free rows."""

    @abstractmethod
    def learn(self, rows: np.ndarray, rewards: np.ndarray) -> None:
        """Updates the state."""

    @property
    def coverage(self) -> float:
        """Share of the rows that completions were generated for."""
        return float(self.seen.mean())

    def expected(self) -> np.ndarray:
        """(n,): the chance that a completion of each row is right; one half where unknown."""
        return np.full(self.rows, 0.5)


def weighted(
    rng: np.random.Generator, free: np.ndarray, count: int, log_weight: np.ndarray
) -> np.ndarray:
    """`count` of the free rows, drawn one after another in proportion to exp(log_weight) (n,).

    The Gumbel top-k trick: the k greatest of log w + G, with G from the standard Gumbel
    distribution, are a weighted sample without replacement.
    """
    keys = log_weight[free] + rng.gumbel(size=len(free))
    return free[np.argsort(-keys, kind="stable")[:count]]


def mean_advantage(rewards: np.ndarray, divided: bool) -> float:
    """Mean of |A| of the completions of one prompt, A = r - mean(r), divided by the deviation."""
    distances = np.abs(rewards - rewards.mean())
    deviation = rewards.std(ddof=1) + EPSILON if divided and len(rewards) > 1 else 1.0
    return float(distances.mean() / deviation)


def softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities in proportion to exp(value / temperature)."""
    scaled = values / temperature
    weights = np.exp(scaled - scaled.max())
    found: np.ndarray = weights / weights.sum()
    return found


def log_share(probability: np.ndarray) -> np.ndarray:
    """log p, with a floor in place of minus infinity."""
    floor = math.exp(-700)
    found: np.ndarray = np.log(np.maximum(probability, floor))
    return found
