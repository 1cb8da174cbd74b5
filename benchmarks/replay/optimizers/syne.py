"""Syne Tune's schedulers; see `base.py` for what all peers have in common.

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
from functools import partial
from typing import Any

import ConfigSpace as cs
import numpy as np
import sklearn
from syne_tune import config_space as syne
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.schedulers.searchers.conformal.conformal_quantile_regression_searcher import (  # noqa: E501
    ConformalQuantileRegression,
    QuantileRegressionSurrogateModel,
)
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

from benchmarks.replay.optimizers.base import PeerOptimizer
from benchmarks.replay.tables import Query
from surrogates.space.axes import plain
from trials.io.errors import SettingsError

METRIC = "loss"


def flat_space(space: cs.ConfigurationSpace) -> dict[str, Any]:
    """The space in Syne Tune's terms, without conditions, forbidden clauses and constants.

    Raises:
        SettingsError: a hyperparameter is of a type that Syne Tune does not have.
    """
    domains: dict[str, Any] = {}
    for given in space.values():
        match given:
            case cs.Constant():
                continue
            case cs.UniformFloatHyperparameter():
                kind = syne.loguniform if given.log else syne.uniform
                domains[given.name] = kind(float(given.lower), float(given.upper))
            case cs.UniformIntegerHyperparameter():
                kind = syne.lograndint if given.log else syne.randint
                domains[given.name] = kind(int(given.lower), int(given.upper))
            case cs.CategoricalHyperparameter():
                domains[given.name] = syne.choice([plain(v) for v in given.choices])
            case cs.OrdinalHyperparameter():
                values = [plain(v) for v in given.sequence]
                domains[given.name] = syne.ordinal(values, kind="equal")
            case _:
                raise SettingsError(f"Syne Tune has no {type(given).__name__} ({given.name})")
    return domains


def within(space: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """True if the space contains the configuration."""
    return all(domain.is_valid(config[name]) for name, domain in space.items())


class SyneOptimizer(PeerOptimizer):
    """A scheduler that is asked and told alternately.

    The seed is also that of NumPy's global generator, which its quantile models draw from: runs of
    one process must come one after the other.
    """

    def begin(self) -> None:
        np.random.seed(self.seed)
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        space = self.encoder.space
        self.space = flat_space(space)
        self.defaults = {name: plain(space[name].default_value) for name in self.space}
        with contextlib.redirect_stdout(io.StringIO()):  # some print what they are made of
            self.scheduler = self.make_scheduler()

    @abstractmethod
    def make_scheduler(self) -> Any:
        """The scheduler."""

    def filled(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with the defaults where it has no value."""
        return {name: config.get(name, value) for name, value in self.defaults.items()}

    def free(self) -> list[dict[str, Any]]:
        """The candidates that are left, filled."""
        return [self.filled(self.configs[index]) for index in self.pool.free]

    def ask(self) -> Query | None:
        suggestion = self.suggest() if self.pool.free.size else None
        return None if suggestion is None else Query(self.pool.take_nearest(suggestion))

    def suggest(self) -> Mapping[str, Any] | None:
        """The scheduler's next configuration, or None when it has no more."""
        # CQR fits hundreds of small trees, whose settings need no check each time.
        with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
            suggestion = self.scheduler.suggest()
        return None if suggestion is None else suggestion.config

    def learn(self, query: Query, loss: float) -> None:
        config = self.filled(self.configs[query.index])
        trial = Trial(query.index, config, datetime.datetime.now())
        self.scheduler.on_trial_complete(trial, {METRIC: loss})


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


class Cqr(SyneOptimizer):
    """Conformal quantile regression; it begins with the default configuration."""

    def make_scheduler(self) -> Any:
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
