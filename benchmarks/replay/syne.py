"""Syne Tune's schedulers as players; see `peers.py` for what all peers have in common.

Its spaces are flat: a hyperparameter that a condition switches off gets its default value on the
way in, and its value is ignored on the way out. Ordinals keep their order in the space, but its
pipelines encode them as categories.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from benchmarks.replay.peers import PeerPlayer
from benchmarks.replay.tables import ReplayTask
from surrogates.axes import plain
from surrogates.base import Config
from surrogates.encoding import SpaceEncoder
from trials.errors import SettingsError

METRIC = "loss"


def flat_space(space: ConfigurationSpace) -> dict[str, Any]:
    """The space in Syne Tune's terms, without conditions, forbidden clauses and constants.

    Raises:
        SettingsError: a hyperparameter is of a type that Syne Tune does not have.
    """
    from syne_tune import config_space as syne

    domains: dict[str, Any] = {}
    for given in space.values():
        match given:
            case Constant():
                continue
            case UniformFloatHyperparameter():
                kind = syne.loguniform if given.log else syne.uniform
                domains[given.name] = kind(float(given.lower), float(given.upper))
            case UniformIntegerHyperparameter():
                kind = syne.lograndint if given.log else syne.randint
                domains[given.name] = kind(int(given.lower), int(given.upper))
            case CategoricalHyperparameter():
                domains[given.name] = syne.choice([plain(v) for v in given.choices])
            case OrdinalHyperparameter():
                values = [plain(v) for v in given.sequence]
                domains[given.name] = syne.ordinal(values, kind="equal")
            case _:
                raise SettingsError(f"Syne Tune has no {type(given).__name__} ({given.name})")
    return domains


class SynePlayer(PeerPlayer):
    """A scheduler behind its `AskTellScheduler`.

    Args:
        task: The table.
        encoder: Of the space.
        seed: Of the scheduler, and of NumPy's global generator, which its quantile models draw
            from: runs of one process must come one after the other.
    """

    def __init__(self, task: ReplayTask, encoder: SpaceEncoder, seed: int) -> None:
        from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

        super().__init__(task, encoder)
        np.random.seed(seed)
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self.encoder, self.seed = encoder, seed
        self.space = flat_space(encoder.space)
        self.defaults = {name: plain(encoder.space[name].default_value) for name in self.space}
        with contextlib.redirect_stdout(io.StringIO()):  # some print what they are made of
            self.scheduler = AskTellScheduler(self.base())

    def base(self) -> Any:
        """The scheduler that is wrapped."""
        raise NotImplementedError

    def filled(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with the defaults where it has no value."""
        return {name: config.get(name, value) for name, value in self.defaults.items()}

    def suggest(self) -> Mapping[str, Any] | None:
        self._trial = self.scheduler.ask()
        return self._trial.config

    def learn(self, config: Config, loss: float) -> None:
        from syne_tune.backend.trial_status import Trial

        run = Trial(self._trial.trial_id, self.filled(config), datetime.datetime.now())
        self.scheduler.tell(run, {METRIC: loss})


class Cqr(SynePlayer):
    """Conformal quantile regression; it begins with the default configuration."""

    def __init__(
        self,
        task: ReplayTask,
        encoder: SpaceEncoder,
        budget: float,
        seed: int,
        past: pd.DataFrame | None = None,
    ) -> None:
        super().__init__(task, encoder, seed)

    def base(self) -> Any:
        from syne_tune.optimizer.baselines import CQR

        start = [self.filled(self.encoder.default())]
        return CQR(self.space, METRIC, random_seed=self.seed, points_to_evaluate=start)
