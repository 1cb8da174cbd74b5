"""Syne Tune's transfer schedulers: they learn from the past tasks of the history."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from syne_tune import config_space as syne
from syne_tune.blackbox_repository.blackbox_surrogate import BlackboxSurrogate
from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import BoundingBox as Box
from syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher import (  # noqa: E501
    fit_model,
)
from syne_tune.optimizer.schedulers.transfer_learning.transfer_learning_task_evaluation import (
    TransferLearningTaskEvaluations,
)
from syne_tune.optimizer.schedulers.transfer_learning.zero_shot import ZeroShotTransfer

from benchmarks.replay.optimizers.syne import METRIC, Cqr, SyneOptimizer, within
from benchmarks.replay.tables import Query
from surrogates.core.base import Config
from surrogates.space.axes import plain


class TransferOptimizer(SyneOptimizer):
    """A scheduler that learns from the final scores of past tasks (dataset x model).

    Of the rows of the other datasets, those at full length are used.
    """

    @cached_property
    def past_tasks(self) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
        """Configurations and losses of each past task."""
        rows = self.problem.history
        assert rows is not None, "a transfer peer needs a history"
        ends = rows[(rows["fraction"] >= 1.0) & (rows["state"] != "failed")]
        return {
            f"{dataset} {model}": (
                self.table(self.encoder.from_frame(own)),
                -own["score"].to_numpy(np.float64),
            )
            for (dataset, model), own in ends.groupby(["dataset_id", "model_id"], sort=True)
        }

    def table(self, configs: Iterable[Config]) -> pd.DataFrame:
        """Configurations as Syne Tune's tables: plain numbers, choices as they are."""
        rows = [self.filled(config) for config in configs]
        numeric = [name for name, domain in self.space.items() if hasattr(domain, "lower")]
        table = pd.DataFrame(rows, columns=list(self.space), dtype=object)
        return table.astype(dict.fromkeys(numeric, float))

    def evaluations(self) -> dict[str, Any]:
        """All past tasks in Syne Tune's form."""
        return {name: self.evaluation(*task) for name, task in self.past_tasks.items()}

    def evaluation(self, table: pd.DataFrame, losses: np.ndarray) -> Any:
        """One past task in Syne Tune's form: one seed, one fidelity, one objective."""
        return TransferLearningTaskEvaluations(
            configuration_space=self.space,
            hyperparameters=table,
            objectives_names=[METRIC],
            objectives_evaluations=losses.reshape(-1, 1, 1, 1),
        )


class BoundingBox(TransferOptimizer, Cqr):
    """The box around the best configuration of each past task, searched by CQR.

    Candidates outside of the box are run only when none inside is left.
    """

    def make_scheduler(self) -> Any:
        return Box(
            self._in_box,
            self.space,
            METRIC,
            self.evaluations(),
            do_minimize=True,
            num_hyperparameters_per_task=1,
            random_seed=self.seed,
        )

    def _in_box(self, space: dict[str, Any], metric: str, minimize: bool, seed: int) -> Any:
        # The box's choices come out of a table as NumPy's numbers, which CQR's space refuses.
        self.box = {
            name: syne.choice([plain(value) for value in domain.categories])
            if isinstance(domain, syne.Categorical)
            else domain
            for name, domain in space.items()
        }
        inside = [within(self.box, self.filled(config)) for config in self.configs]
        self.pool.preferred = np.array(inside)
        return self.cqr(self.box)

    def learn(self, query: Query, loss: float) -> None:
        if self.pool.preferred[query.index]:  # it refuses configurations outside its space
            super().learn(query, loss)


class Quantile(TransferOptimizer):
    """Copula Thompson sampling: a surrogate of all past tasks' ranks, drawn from. Never updated.

    Its searcher draws for 100,000 random configurations; here it does so for the candidates, with
    the same model and the same variance.
    """

    def make_scheduler(self) -> Any:
        self._random = np.random.RandomState(self.seed)
        model, _, residual = fit_model(
            self.space,
            self.evaluations(),
            normalization="gaussian",
            max_fit_samples=100_000,
            random_state=self._random,
            model=xgboost.XGBRegressor(n_jobs=1),
        )
        self._mean = np.ravel(model.predict(self.table(self.configs)))
        self._sd = float(residual)
        return None

    def suggest(self) -> Mapping[str, Any] | None:
        drawn, free = self._random.normal(self._mean, self._sd), self.pool.free
        return self.configs[free[np.argmin(drawn[free])]]

    def learn(self, query: Query, loss: float) -> None:
        """It does not learn."""


class ZeroShot(TransferOptimizer):
    """The list of configurations with the least mean rank on past tasks, built greedily.

    It needs every configuration's loss on every past task. Its own way to fill them in draws other
    configurations for each task and then ranks them against each other (0.16), so they are filled
    in here, by the same surrogate of each task, for the candidates of the table. Its `suggest` is
    that of random search (0.16); the method itself is behind `get_config`, which is asked.
    """

    def make_scheduler(self) -> Any:
        logging.getLogger(ZeroShotTransfer.__module__).setLevel(logging.ERROR)
        wanted, filled_in = self.table(self.configs), {}
        for name, (table, losses) in self.past_tasks.items():
            surrogate = BlackboxSurrogate.make_model_pipeline(
                self.space, {}, xgboost.XGBRegressor(n_jobs=1, random_state=self.seed)
            )
            surrogate.fit(table, losses)
            predicted = np.asarray(surrogate.predict(wanted), dtype=np.float64)
            filled_in[name] = self.evaluation(wanted.copy(), predicted)
        return ZeroShotTransfer(
            self.space,
            METRIC,
            filled_in,
            sort_transfer_learning_evaluations=False,
            random_seed=self.seed,
        )

    def suggest(self) -> Mapping[str, Any] | None:
        return self.scheduler.get_config()

    def learn(self, query: Query, loss: float) -> None:
        """It does not learn."""
