"""What other people's optimizers have in common as players; `smac3.py` and `syne*.py` hold them.

They choose from the candidates: where a method maximises something over random configurations, it
maximises over the candidates that are left instead, as that is what may be run. What it suggests
outside of them (initial designs, random draws) is snapped to the nearest one that is left, by
Euclidean distance in `SpaceEncoder.matrix`, and it is told the score under the candidate.

A failed trial is told as the worst score seen so far, or not at all before there is one.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.replay.play import BestSeen, Player
from benchmarks.replay.tables import Move, ReplayTask
from surrogates.core.base import Config
from surrogates.space.encoding import SpaceEncoder

RUNGS = (0.1, 0.3, 1.0)  # fractions of those that stop early, as of our own `bohb`
ETA = 3  # one trial in three goes on


class Snapper:
    """The candidates that were not tried before."""

    def __init__(self, encoder: SpaceEncoder, configs: tuple[Config, ...]) -> None:
        self._encoder = encoder
        self._cube = encoder.matrix(configs)
        self._free = np.ones(len(configs), dtype=bool)
        self.wanted = self._free.copy()
        """Those that are taken before all others."""

    @property
    def free(self) -> np.ndarray:
        """Indices of the candidates that are left; of the wanted ones while there are any."""
        left = np.flatnonzero(self._free & self.wanted)
        return left if left.size else np.flatnonzero(self._free)

    def take(self, config: Mapping[str, Any]) -> int:
        """Index of the free candidate nearest to a configuration, which is free no longer.

        Hyperparameters that are inactive in the configuration do not count.
        """
        active = self._encoder.activate(self._encoder.normalise(config))
        free = self.free
        distance = np.linalg.norm(self._cube[free] - self._encoder.matrix([active])[0], axis=1)
        index = int(free[np.argmin(distance)])
        self._free[index] = False
        return index


class PeerPlayer(ABC):
    """A peer that runs every trial to its end, and would end with the best score seen.

    Args:
        task: The table.
        encoder: Of the space.
        budget: Seconds that may be spent.
        seed: Of the peer.
        past: Rows of the other datasets, for a peer that learns from them.
    """

    def __init__(
        self,
        task: ReplayTask,
        encoder: SpaceEncoder,
        budget: float,
        seed: int,
        past: pd.DataFrame | None = None,
    ) -> None:
        self.task, self.encoder, self.budget, self.seed = task, encoder, budget, seed
        self.configs = task.configs
        self.snapper = Snapper(encoder, task.configs)
        self._seen = BestSeen()
        self.begin(past)

    @abstractmethod
    def begin(self, past: pd.DataFrame | None) -> None:
        """Make the optimizer."""

    @abstractmethod
    def ask(self) -> Move | None:
        """See `Player`."""

    @abstractmethod
    def learn(self, move: Move, loss: float) -> None:
        """What a move gave; less is better."""

    def tell(
        self,
        move: Move,
        score: float | None,
        score_se: float,
        cost: float,
        signals: Mapping[str, float],
    ) -> None:
        self._seen.tell(move, score)
        worst = self._seen.worst
        if worst is not None:
            self.learn(move, -score if score is not None else -worst)

    def incumbent(self) -> int | None:
        return self._seen.incumbent()


PEERS = {
    "smac": ("smac3", "Smac"),
    "smac-hyperband": ("smac3", "SmacHyperband"),
    "syne-cqr": ("syne", "Cqr"),
    "syne-asha-cqr": ("syne", "AshaCqr"),
    "syne-bounding-box": ("syne_transfer", "BoundingBox"),
    "syne-zero-shot": ("syne_transfer", "ZeroShot"),
    "syne-quantile": ("syne_transfer", "Quantile"),
}
"""Name -> module of this package and class, made with (task, encoder, budget, seed, past)."""


def make_peer(name: str, *arguments: Any) -> Player:
    """A player of `PEERS`; its package is imported now, and not before."""
    module, player = PEERS[name]
    made = getattr(importlib.import_module(f"benchmarks.replay.{module}"), player)
    return made(*arguments)
