"""SMAC3; see `base.py` for what all peers have in common."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from ConfigSpace import Configuration, ConfigurationSpace
from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.acquisition.maximizer import AbstractAcquisitionMaximizer
from smac.main.config_selector import ConfigSelector
from smac.runhistory.dataclasses import TrialValue

from benchmarks.replay.optimizers.base import RUNGS, PeerOptimizer
from benchmarks.replay.tables import Query
from surrogates.space.encoding import SpaceEncoder

INITIAL_SHARE = 0.25  # of the budget's trials, SMAC's own largest share for its initial design
MIN_TRIALS = 5  # scores at one length before the forest is trained on them


class CandidateSelector(ConfigSelector):
    """SMAC's source of configurations, each replaced by a candidate that is left.

    The forest is trained anew for each suggestion; the default, every eighth, is too few for these
    budgets.
    """

    def __init__(
        self,
        scenario: Scenario,
        take: Callable[[Configuration], Configuration | None],
        min_trials: int,
    ) -> None:
        super().__init__(scenario, retrain_after=1, min_trials=min_trials)
        self._take = take

    def __iter__(self) -> Iterator[Configuration]:
        for suggestion in super().__iter__():
            candidate = self._take(suggestion)
            if candidate is None:
                return
            yield candidate


class CandidateMaximizer(AbstractAcquisitionMaximizer):
    """The candidates that are left, sorted by their acquisition value."""

    def __init__(
        self, space: ConfigurationSpace, free: Callable[[], list[Configuration]], seed: int
    ) -> None:
        super().__init__(space, seed=seed)
        self._free = free

    def _maximize(
        self, previous_configs: list[Configuration], n_points: int
    ) -> list[tuple[float, Configuration]]:
        return self._sort_by_acquisition_value(self._free())


class Smac(PeerOptimizer):
    """The facade for hyperparameter optimization: random forest and expected improvement.

    The initial Sobol design is a quarter of the trials that the budget pays for, as SMAC itself
    would limit it; the default configuration is the last of it.
    """

    facade: ClassVar[Any] = HyperparameterOptimizationFacade
    fidelities: ClassVar[dict[str, Any]] = {}
    min_trials: ClassVar[int] = 1

    def begin(self) -> None:
        task, encoder = self.task, self.encoder
        logging.getLogger("smac").setLevel(logging.ERROR)
        space = SpaceEncoder(encoder.space).space  # a copy: SMAC seeds the space
        self._runs = [Configuration(space, values=encoder.constants | c) for c in task.configs]
        self._index = {run: index for index, run in enumerate(self._runs)}
        self._folder = tempfile.TemporaryDirectory(prefix="autopipe-smac-")
        scenario = Scenario(
            space,
            output_directory=Path(self._folder.name),
            deterministic=True,
            n_trials=100_000,  # so that the budget of the replay alone ends the run
            use_default_config=True,
            seed=self.seed,
            **self.fidelities,
        )
        # The same forest in a fraction of the time: room for 2^20 leaves, its default, takes 0.1 s
        # a tree, and there cannot be more leaves than scores.
        model = self.facade.get_model(scenario)
        model._rf_opts |= {"max_leaf_nodes": max(2, len(task)), "n_jobs": 1}
        initial = max(1, round(INITIAL_SHARE * self.problem.budget / task.mean_cost) - 1)
        self._smac = self.facade(
            scenario,
            model=model,
            initial_design=self.facade.get_initial_design(scenario, n_configs=initial),
            config_selector=CandidateSelector(scenario, self._nearest, self.min_trials),
            acquisition_maximizer=CandidateMaximizer(space, self._free, self.seed),
            logging_level=False,
            overwrite=True,
        )

    def _nearest(self, suggestion: Configuration) -> Configuration | None:
        if not self.pool.free.size:
            return None
        return self._runs[self.pool.take_nearest(dict(suggestion))]

    def _free(self) -> list[Configuration]:
        # SMAC wants at least one; when none is left, `_nearest` ends the run.
        return [self._runs[index] for index in self.pool.free] or self._runs

    def ask(self) -> Query | None:
        try:
            self._info = self._smac.ask()
        except StopIteration:  # nothing is left
            return None
        return Query(self._index[self._info.config])

    def learn(self, query: Query, loss: float) -> None:
        self._smac.tell(self._info, TrialValue(loss), save=False)


class SmacHyperband(Smac):
    """The multi-fidelity facade: Hyperband, whose new configurations the forest chooses.

    A promoted trial resumes from where it was stopped. The forest learns from the longest fraction
    that enough trials have reached. Where too few candidates are left to fill a bracket, it ends.
    """

    facade = MultiFidelityFacade
    fidelities: ClassVar[dict[str, Any]] = {"min_budget": RUNGS[0], "max_budget": RUNGS[-1]}
    min_trials = MIN_TRIALS

    def begin(self) -> None:
        super().begin()
        self._reached: dict[int, float] = {}

    def ask(self) -> Query | None:
        query = super().ask()
        if query is None:
            return None
        # Its lengths are powers of 1 / 3; the table has them rounded.
        fraction = min(RUNGS, key=lambda rung: abs(rung - self._info.budget))
        return Query(query.index, fraction, self._reached.get(query.index, 0.0))

    def learn(self, query: Query, loss: float) -> None:
        self._reached[query.index] = query.fraction
        super().learn(query, loss)
