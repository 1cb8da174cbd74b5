"""The common part of other packages' optimizers.

They choose from the candidates: where a method maximises something over random configurations, it
maximises over the candidates that are left instead, as only those can be run. A suggestion outside
of them (initial designs, random draws) is snapped to the nearest one that is left, by Euclidean
distance in `SpaceEncoder.matrix`, and the score is reported under that candidate.

A failed trial is reported as the worst score so far, or not at all before there is one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.replay.loop import BestSeen, Problem
from benchmarks.replay.tables import Outcome, Query
from surrogates.core.base import Config
from surrogates.space.encoding import SpaceEncoder

RUNGS = (0.1, 0.3, 1.0)  # fractions of those that stop early, as of our own `bohb`


class CandidatePool:
    """The candidates that were not tried before."""

    def __init__(self, encoder: SpaceEncoder, configs: tuple[Config, ...]) -> None:
        self._encoder = encoder
        self._cube = encoder.matrix(configs)
        self._free = np.ones(len(configs), dtype=bool)
        self.preferred = self._free.copy()
        """Those that are taken before all others."""

    @property
    def free(self) -> np.ndarray:
        """Indices of the candidates that are left; of the preferred ones while there are any."""
        left = np.flatnonzero(self._free & self.preferred)
        return left if left.size else np.flatnonzero(self._free)

    def take_nearest(self, config: Mapping[str, Any]) -> int:
        """Remove the free candidate nearest to a configuration; returns its index.

        Hyperparameters that are inactive in the configuration do not count.
        """
        active = self._encoder.activate(self._encoder.normalise(config))
        free = self.free
        distance = np.linalg.norm(self._cube[free] - self._encoder.matrix([active])[0], axis=1)
        index = int(free[np.argmin(distance)])
        self._free[index] = False
        return index


class PeerOptimizer(ABC):
    """A peer that runs every trial to its end, and recommends the best score seen."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.task, self.encoder = problem, problem.task, problem.encoder
        self.configs, self.seed = problem.task.configs, problem.seed
        self.pool = CandidatePool(self.encoder, self.configs)
        self._best_seen = BestSeen()
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Make the package's own optimizer."""

    @abstractmethod
    def ask(self) -> Query | None:
        """See `Optimizer`."""

    @abstractmethod
    def learn(self, query: Query, loss: float) -> None:
        """Report a loss, the negated score, to the package's own optimizer."""

    def tell(self, query: Query, outcome: Outcome) -> None:
        self._best_seen.tell(query, outcome.score)
        worst = self._best_seen.worst
        if worst is not None:
            self.learn(query, -(worst if outcome.score is None else outcome.score))

    def incumbent(self) -> int | None:
        return self._best_seen.incumbent()
