"""Other people's optimizers as players: SMAC3 here, Syne Tune in `syne.py` and `syne_transfer.py`.

None of them chooses from a finite list, so each suggestion is snapped to the nearest candidate
that was not tried before (Euclidean distance in `SpaceEncoder.matrix`). All are told the score
under the candidate that was really run, never under their own suggestion: SMAC and Syne Tune's
model-based searchers accept results of configurations that they did not suggest, and its zero-shot
and quantile ones learn nothing from results.

None of them stops a trial early, and each ends with the best score that it has seen. A failed trial
is told as the worst score seen so far, or not at all before there is one.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.replay.play import Player
from benchmarks.replay.tables import Move, ReplayTask
from surrogates.base import Config
from surrogates.encoding import SpaceEncoder

INITIAL_SHARE = 0.25  # of the budget's trials, SMAC's own largest share for its initial design


class Snapper:
    """The candidates that were not tried before."""

    def __init__(self, encoder: SpaceEncoder, configs: tuple[Config, ...]) -> None:
        self._encoder = encoder
        self._cube = encoder.matrix(configs)
        self._free = np.ones(len(configs), dtype=bool)

    def __bool__(self) -> bool:
        return bool(self._free.any())

    def take(self, config: Mapping[str, Any]) -> int:
        """Index of the free candidate nearest to a configuration, which is free no longer.

        Hyperparameters that are inactive in the configuration do not count.
        """
        active = self._encoder.activate(self._encoder.normalise(config))
        distance = np.linalg.norm(self._cube - self._encoder.matrix([active])[0], axis=1)
        index = int(np.argmin(np.where(self._free, distance, np.inf)))
        self._free[index] = False
        return index


class PeerPlayer(ABC):
    """A peer that runs every trial to its end.

    Args:
        task: The table.
        encoder: Of the space.
    """

    def __init__(self, task: ReplayTask, encoder: SpaceEncoder) -> None:
        self._configs = task.configs
        self._snapper = Snapper(encoder, task.configs)
        self._scores: dict[int, float] = {}

    @abstractmethod
    def suggest(self) -> Mapping[str, Any] | None:
        """The peer's next configuration, or None when it has no more."""

    @abstractmethod
    def learn(self, config: Config, loss: float) -> None:
        """A candidate's result; less is better."""

    def ask(self) -> Move | None:
        suggestion = self.suggest() if self._snapper else None
        return None if suggestion is None else Move(self._snapper.take(suggestion))

    def tell(
        self,
        move: Move,
        score: float | None,
        score_se: float,
        cost: float,
        signals: Mapping[str, float],
    ) -> None:
        if score is not None:
            self._scores[move.index] = score
        if self._scores:
            loss = -score if score is not None else -min(self._scores.values())
            self.learn(self._configs[move.index], loss)

    def incumbent(self) -> int | None:
        return max(self._scores, key=self._scores.__getitem__) if self._scores else None


class Smac(PeerPlayer):
    """SMAC3's facade for hyperparameter optimization: random forest and expected improvement.

    The forest is trained anew for each suggestion (its default is every eighth, too few for these
    budgets), and the initial Sobol design is a quarter of the trials that the budget pays for, as
    SMAC itself would limit it; the default configuration is the last of it.
    """

    def __init__(
        self,
        task: ReplayTask,
        encoder: SpaceEncoder,
        budget: float,
        seed: int,
        past: pd.DataFrame | None = None,
    ) -> None:
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario

        super().__init__(task, encoder)
        logging.getLogger("smac").setLevel(logging.ERROR)
        self._encoder = SpaceEncoder(encoder.space)  # a copy: SMAC seeds the space
        self._folder = tempfile.TemporaryDirectory(prefix="autopipe-smac-")
        scenario = Scenario(
            self._encoder.space,
            output_directory=self._folder.name,
            deterministic=True,
            n_trials=100_000,  # so that the budget of the replay alone ends the run
            use_default_config=True,
            seed=seed,
        )
        trials = budget / task.mean_cost
        self._smac = Facade(
            scenario,
            initial_design=Facade.get_initial_design(
                scenario, n_configs=max(1, round(INITIAL_SHARE * trials) - 1)
            ),
            config_selector=Facade.get_config_selector(scenario, retrain_after=1),
            logging_level=False,
            overwrite=True,
        )

    def suggest(self) -> Mapping[str, Any] | None:
        try:
            self._info = self._smac.ask()
        except StopIteration:  # the space is exhausted
            return None
        return dict(self._info.config)

    def learn(self, config: Config, loss: float) -> None:
        from ConfigSpace import Configuration
        from smac.runhistory.dataclasses import TrialInfo, TrialValue

        try:
            run = Configuration(self._encoder.space, values=self._encoder.constants | config)
        except ValueError:  # not of this space: it can be told under its suggestion alone
            run = self._info.config
        self._smac.tell(TrialInfo(run, seed=self._info.seed), TrialValue(loss), save=False)


PEERS = {
    "smac": ("peers", "Smac"),
    "syne-cqr": ("syne", "Cqr"),
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
