"""Syne Tune's transfer schedulers as players: they learn from the past tasks of the history."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.replay.syne import METRIC, SynePlayer
from benchmarks.replay.tables import ReplayTask
from surrogates.base import Config
from surrogates.encoding import SpaceEncoder


class TransferPlayer(SynePlayer):
    """A scheduler that learns from the final scores of past tasks (dataset x model).

    Args:
        past: Rows of the other datasets; those at full length are used.
    """

    def __init__(
        self,
        task: ReplayTask,
        encoder: SpaceEncoder,
        budget: float,
        seed: int,
        past: pd.DataFrame,
    ) -> None:
        ends = past[(past["fraction"] >= 1.0) & (past["state"] != "failed")]
        self.tasks = {
            f"{dataset} {model}": (encoder.from_frame(rows), -rows["score"].to_numpy(np.float64))
            for (dataset, model), rows in ends.groupby(["dataset_id", "model_id"], sort=True)
        }
        self.candidates = task.configs
        super().__init__(task, encoder, seed)

    def table(self, configs: list[Config]) -> pd.DataFrame:
        """Configurations as Syne Tune's tables: plain numbers, choices as they are."""
        rows = [self.filled(config) for config in configs]
        numeric = {name for name, domain in self.space.items() if hasattr(domain, "lower")}
        columns = {
            name: pd.Series([row[name] for row in rows], dtype=float if name in numeric else object)
            for name in self.space
        }
        return pd.DataFrame(columns)

    def evaluations(self, table: pd.DataFrame, losses: np.ndarray) -> Any:
        """One past task in Syne Tune's form: one seed, one fidelity, one objective."""
        from syne_tune.optimizer.schedulers.transfer_learning import (
            transfer_learning_task_evaluation as form,
        )

        return form.TransferLearningTaskEvaluations(
            configuration_space=self.space,
            hyperparameters=table,
            objectives_names=[METRIC],
            objectives_evaluations=losses.reshape(-1, 1, 1, 1),
        )

    def past(self) -> dict[str, Any]:
        """All past tasks."""
        return {
            name: self.evaluations(self.table(configs), losses)
            for name, (configs, losses) in self.tasks.items()
        }


class BoundingBox(TransferPlayer):
    """The box around the best configuration of each past task, searched by CQR."""

    def base(self) -> Any:
        from syne_tune.optimizer.baselines import CQR
        from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import BoundingBox as Box

        def inner(space: dict[str, Any], metric: str, minimize: bool, seed: int) -> Any:
            return CQR(space, metric, do_minimize=minimize, random_seed=seed)

        return Box(
            inner,
            self.space,
            METRIC,
            self.past(),
            do_minimize=True,
            num_hyperparameters_per_task=1,
            random_seed=self.seed,
        )


class Quantile(TransferPlayer):
    """Copula Thompson sampling: a surrogate of all past tasks' ranks, drawn from. Never updated."""

    def base(self) -> Any:
        from syne_tune.optimizer.schedulers.single_objective_scheduler import (
            SingleObjectiveScheduler,
        )
        from syne_tune.optimizer.schedulers.transfer_learning.quantile_based import (
            quantile_based_searcher as quantile,
        )

        searcher = quantile.QuantileBasedSurrogateSearcher(
            self.space, self.past(), random_seed=self.seed
        )
        return SingleObjectiveScheduler(
            self.space, METRIC, searcher=searcher, random_seed=self.seed
        )


class ZeroShot(TransferPlayer):
    """The list of configurations with the least mean rank on past tasks, built greedily.

    It needs every configuration's loss on every past task. Its own way to fill them in draws other
    configurations for each task and then ranks them against each other (0.16), so they are filled
    in here, by the same surrogate of each task, for the candidates of the table. Its `suggest` is
    that of random search (0.16); the method itself is behind `get_config`, which is asked.
    """

    def base(self) -> Any:
        import xgboost
        from syne_tune.blackbox_repository.blackbox_surrogate import BlackboxSurrogate
        from syne_tune.optimizer.schedulers.transfer_learning.zero_shot import ZeroShotTransfer

        logging.getLogger(ZeroShotTransfer.__module__).setLevel(logging.ERROR)
        wanted, filled_in = self.table(list(self.candidates)), {}
        for name, (configs, losses) in self.tasks.items():
            surrogate = BlackboxSurrogate.make_model_pipeline(
                self.space, {}, xgboost.XGBRegressor(n_jobs=1, random_state=self.seed)
            )
            surrogate.fit(self.table(configs), losses)
            predicted = np.asarray(surrogate.predict(wanted), dtype=np.float64)
            filled_in[name] = self.evaluations(wanted.copy(), predicted)
        self._zero_shot = ZeroShotTransfer(
            self.space,
            METRIC,
            filled_in,
            sort_transfer_learning_evaluations=False,
            random_seed=self.seed,
        )
        return self._zero_shot

    def suggest(self) -> Mapping[str, Any] | None:
        return self._zero_shot.get_config()

    def learn(self, config: Config, loss: float) -> None:
        """It does not learn."""
