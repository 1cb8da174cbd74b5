"""The offline models as seen from one dataset, before its first trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surrogates.core.base import Config
from surrogates.core.memo import Memo
from surrogates.gp.residual_gp import InputColumns
from surrogates.offline.blend import Blend
from surrogates.offline.models import OfflineModels
from surrogates.offline.past_tasks import PastTasks
from surrogates.space.candidates import BASE_POOL
from surrogates.space.encoding import SpaceEncoder

NUGGET = 0.05  # share of variance of single configurations where no past task says it
MIN_EXPLAINED = 0.05  # a past task whose own trials do not predict each other says nothing


@dataclass(frozen=True)
class TaskDeviations:
    """Deviations of past tasks from the prior mean, as features of a configuration.

    r_h(x) = f_h(x) - c_h - b_h m(x), with c_h and b_h by least squares over the space: what is left
    of past task h beyond the prior mean. Column h is r_h / sqrt(number of tasks), so that the inner
    product of two rows is mean_h r_h(x) r_h(x').
    """

    past: PastTasks
    kept: np.ndarray
    """Indices of the past tasks that are used."""
    line: np.ndarray
    """`h x 2`: c_h and b_h."""
    variance: float
    """Mean over the space of the squared length of a row."""

    @classmethod
    def of(cls, past: PastTasks, cube: np.ndarray, prior_mean: np.ndarray) -> TaskDeviations | None:
        """Deviations over a sample of the space; None where no past task has any.

        Args:
            past: The past tasks' models.
            cube: `n x d` encoded configurations spread over the space.
            prior_mean: (n,) m there; zeros where it is not trusted.
        """
        explained = np.array([task.explained for task in past.tasks])
        kept = np.flatnonzero(explained > MIN_EXPLAINED)
        if not len(kept):
            return None
        predicted = past.predict(cube)[kept]
        regressors = np.column_stack([np.ones(len(cube)), prior_mean])
        line = np.linalg.lstsq(regressors, predicted.T, rcond=None)[0].T
        variance = float(((predicted - line @ regressors.T) ** 2).mean())
        return cls(past, kept, line, variance) if variance > 1e-9 else None

    def __call__(self, cube: np.ndarray, prior_mean: np.ndarray) -> np.ndarray:
        """`n x h` at `n x d` encoded configurations where the prior mean is m, of shape (n,)."""
        common = self.line @ np.stack([np.ones(len(cube)), prior_mean])
        return (self.past.predict(cube)[self.kept] - common).T / np.sqrt(len(self.kept))


class OfflinePrior:
    """The offline models as seen from one dataset; fixed over a search.

    Args:
        offline: Fitted models, or None for a search without history.
        encoder: The space.
        dataset: Meta-features of the new dataset, or None.
        seed: Of the reference sample on which the prior mean is standardised.
        ablate: Parts to leave out, some of `surrogates.space.options.Part`.
    """

    def __init__(
        self,
        offline: OfflineModels | None,
        encoder: SpaceEncoder,
        dataset: Mapping[str, Any] | None,
        seed: int,
        ablate: tuple[str, ...] = (),
    ) -> None:
        self.offline = offline or OfflineModels(encoder.columns, True)
        if "past_tasks" in ablate:
            ranker = self.offline.ranker
            alone = Blend(0.0, ranker.skill) if ranker is not None else Blend()
            self.offline = replace(self.offline, past=None, blend=alone)
        self.encoder, self.dataset, self.ablate = encoder, dataset, ablate
        self.mean_prior = None if "ranker" in ablate else self.offline.mean_prior
        self.favourites: list[Config] = []
        pool = encoder.sample(BASE_POOL, seed) if offline is not None else []
        self._parts = self._weighted_parts(pool)
        self._sd = 1.0
        self.mean = Memo(self._mean, encoder.key)
        """m(x): the blend, mean 0 and sd 1 over the space; zeros without a ranker."""
        self.relative_log_cost = Memo(self._relative_log_cost, encoder.key)
        """Offline prediction of log cost; zeros without a model of it."""
        if self._parts:
            values = self._mean(pool)
            self._sd = float(values.std()) or 1.0
            self.favourites = [pool[i] for i in np.argsort(-values, kind="stable")[:512]]
        self._deviations = None
        past = self.offline.past
        if past is not None:
            self._deviations = TaskDeviations.of(
                past, encoder.matrix(pool), self.trusted_mean(pool)
            )

    @property
    def nugget(self) -> float:
        """Share of variance that single configurations are expected to have for themselves."""
        past = self.offline.past
        if past is None:
            return NUGGET
        return float(np.clip(past.kernel.noise / (past.kernel.noise + 1.0), 0.01, 0.5))

    def _mean(self, configs: list[Config]) -> np.ndarray:
        out = np.zeros(len(configs))
        for predict, weight, centre in self._parts:
            out += weight * (predict(configs) - centre)
        return out / self._sd

    def _weighted_parts(
        self, pool: list[Config]
    ) -> list[tuple[Callable[[list[Config]], np.ndarray], float, float]]:
        """The blended predictors, each with its weight over its sd and its mean over the pool."""
        ranker, past, share = self.offline.ranker, self.offline.past, self.offline.blend.share
        if ranker is None:
            return []
        parts: list[tuple[Callable[[list[Config]], np.ndarray], float]] = []
        if share < 1.0:
            parts.append((lambda c: ranker.predict(c, self.dataset, self.encoder), 1.0 - share))
        if share > 0.0 and past is not None:
            parts.append((lambda c: past.predict(self.encoder.matrix(c)).mean(axis=0), share))
        weighted = []
        for predict, weight in parts:
            values = predict(pool)
            weighted.append((predict, weight / (float(values.std()) or 1.0), float(values.mean())))
        return weighted

    def trusted_mean(self, configs: list[Config]) -> np.ndarray:
        """m(x) where the held-out skill earned it a place in the model; else zeros."""
        return self.mean(configs) if self.mean_prior is not None else np.zeros(len(configs))

    def _relative_log_cost(self, configs: list[Config]) -> np.ndarray:
        if self.offline.cost is None:
            return np.zeros(len(configs))
        return self.offline.cost.relative_log_cost(configs, self.dataset, self.encoder)

    @property
    def input_columns(self) -> InputColumns:
        """The meaning of the columns of `inputs`."""
        d = self._deviations
        return InputColumns(self.encoder.dim, len(d.kept) if d else 0, d.variance if d else 0.0)

    def inputs(self, configs: list[Config]) -> np.ndarray:
        """`n x (d + 1 + h)`: encoded configurations, m(x), deviations of past tasks."""
        cube, m = self.encoder.matrix(configs), self.trusted_mean(configs)
        own = self._deviations(cube, m) if self._deviations else np.zeros((len(configs), 0))
        return np.column_stack([cube, m, own])
