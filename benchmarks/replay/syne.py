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
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from syne_tune import config_space as syne
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
from syne_tune.optimizer.schedulers.searchers.conformal.conformal_quantile_regression_searcher import (  # noqa: E501
    ConformalQuantileRegression,
    QuantileRegressionSurrogateModel,
)
from syne_tune.optimizer.schedulers.searchers.last_value_multi_fidelity_searcher import (
    LastValueMultiFidelitySearcher,
)
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

from benchmarks.replay.peers import ETA, RUNGS, PeerPlayer
from benchmarks.replay.tables import Move
from surrogates.space.axes import plain
from trials.io.errors import SettingsError

METRIC, RESOURCE = "loss", "resource"


def flat_space(space: ConfigurationSpace) -> dict[str, Any]:
    """The space in Syne Tune's terms, without conditions, forbidden clauses and constants.

    Raises:
        SettingsError: a hyperparameter is of a type that Syne Tune does not have.
    """
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


def within(space: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a space has a configuration."""
    return all(domain.is_valid(config[name]) for name, domain in space.items())


class SynePlayer(PeerPlayer):
    """A scheduler asked and told in turn.

    The seed is also that of NumPy's global generator, which its quantile models draw from: runs of
    one process must come one after the other.
    """

    def begin(self, past: pd.DataFrame | None) -> None:
        np.random.seed(self.seed)
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        space = self.encoder.space
        self.space = flat_space(space)
        self.defaults = {name: plain(space[name].default_value) for name in self.space}
        with contextlib.redirect_stdout(io.StringIO()):  # some print what they are made of
            self.scheduler = self.base()

    @abstractmethod
    def base(self) -> Any:
        """The scheduler."""

    def filled(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with the defaults where it has no value."""
        return {name: config.get(name, value) for name, value in self.defaults.items()}

    def free(self) -> list[dict[str, Any]]:
        """The candidates that are left, filled."""
        return [self.filled(self.configs[index]) for index in self.snapper.free]

    def ask(self) -> Move | None:
        suggestion = self.suggest() if self.snapper.free.size else None
        return None if suggestion is None else Move(self.snapper.take(suggestion))

    def suggest(self) -> Mapping[str, Any] | None:
        """The scheduler's next configuration, or None when it has no more."""
        # CQR fits hundreds of small trees, whose settings need no check each time.
        with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
            suggestion = self.scheduler.suggest()
        return None if suggestion is None else suggestion.config

    def trial(self, index: int) -> Trial:
        """A candidate that was asked for, as Syne Tune knows it."""
        return Trial(index, self.filled(self.configs[index]), datetime.datetime.now())

    def learn(self, move: Move, loss: float) -> None:
        self.scheduler.on_trial_complete(self.trial(move.index), {METRIC: loss})


class CandidateQuantiles(QuantileRegressionSurrogateModel):
    """CQR's model, which draws a quantile for each candidate instead of random configurations."""

    def __init__(self, free: Callable[[], list[dict[str, Any]]], **options: Any) -> None:
        super().__init__(**options)
        self._free = free

    def _update_candidates(self, n_candidates: int = 2000) -> None:
        inside = [config for config in self._free() if within(self.config_space, config)]
        if inside:
            self.config_candidates, self.df_candidates = inside, self._configs_to_df(inside)
        else:  # none is left in a space that is a part of the whole
            super()._update_candidates(n_candidates)


class Cqr(SynePlayer):
    """Conformal quantile regression; it begins with the default configuration."""

    def base(self) -> Any:
        return self.cqr(self.space, [self.filled(self.encoder.default())])

    def cqr(self, space: dict[str, Any], start: list[dict[str, Any]] | None = None) -> Any:
        """The scheduler in a space."""
        searcher = ConformalQuantileRegression(
            space,
            points_to_evaluate=start,
            random_seed=self.seed,
            surrogate_cls=partial(CandidateQuantiles, self.free),
        )
        return SingleObjectiveScheduler(space, METRIC, searcher=searcher, random_seed=self.seed)


class AshaCqr(SynePlayer):
    """Asynchronous successive halving, whose new configurations CQR chooses from last scores.

    As one worker would run it: at each rung a trial is stopped for good, or goes on at once.
    """

    def base(self) -> Any:
        self._goes_on: Move | None = None
        return AsynchronousSuccessiveHalving(
            self.space,
            METRIC,
            searcher=LastValueMultiFidelitySearcher(
                self.space,
                random_seed=self.seed,
                points_to_evaluate=[self.filled(self.encoder.default())],
                searcher=ConformalQuantileRegression,
                searcher_kwargs={"surrogate_cls": partial(CandidateQuantiles, self.free)},
            ),
            time_attr=RESOURCE,
            grace_period=1,
            max_t=ETA ** (len(RUNGS) - 1),
            reduction_factor=ETA,
            random_seed=self.seed,
        )

    def ask(self) -> Move | None:
        move, self._goes_on = self._goes_on, None
        if move is None and (move := super().ask()) is not None:
            self.scheduler.on_trial_add(self.trial(move.index))
            move = replace(move, fraction=RUNGS[0])
        return move

    def learn(self, move: Move, loss: float) -> None:
        rung = next(i for i, fraction in enumerate(RUNGS) if fraction >= move.fraction)
        result = {METRIC: loss, RESOURCE: ETA**rung}
        decision = self.scheduler.on_trial_result(self.trial(move.index), result)
        if decision == SchedulerDecision.CONTINUE:
            self._goes_on = Move(move.index, RUNGS[rung + 1], move.fraction)
