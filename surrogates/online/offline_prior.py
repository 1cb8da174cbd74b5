"""The offline models as seen from one dataset, before its first trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogates.core.base import Config
from surrogates.core.memo import Memo
from surrogates.offline.models import OfflineModels
from surrogates.space.candidates import BASE_POOL
from surrogates.space.encoding import SpaceEncoder


class OfflinePrior:
    """The offline models (None without a history) as seen from one dataset; fixed over a search.

    The seed is that of the reference sample on which the prior mean is standardised.
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
        self.encoder, self.dataset, self.ablate = encoder, dataset, ablate
        self.mean_prior = None if "ranker" in ablate else self.offline.mean_prior
        self.favourites: list[Config] = []
        self._centre, self._sd = 0.0, 1.0
        self.mean = Memo(self._mean, encoder.key)
        """m(x): the ranker's prediction, mean 0 and sd 1 over the space; zeros without one."""
        self.relative_log_cost = Memo(self._relative_log_cost, encoder.key)
        """Offline prediction of log cost; zeros without a model of it."""
        if self.offline.ranker is not None:
            pool = encoder.sample(BASE_POOL, seed)
            values = self._mean(pool)
            self._centre, self._sd = float(values.mean()), float(values.std()) or 1.0
            self.favourites = [pool[i] for i in np.argsort(-values, kind="stable")[:512]]

    def _mean(self, configs: list[Config]) -> np.ndarray:
        if self.offline.ranker is None:
            return np.zeros(len(configs))
        predicted = self.offline.ranker.predict(configs, self.dataset, self.encoder)
        return (predicted - self._centre) / self._sd

    def trusted_mean(self, configs: list[Config]) -> np.ndarray:
        """m(x) where the held-out skill earned it a place in the model; else zeros."""
        return self.mean(configs) if self.mean_prior is not None else np.zeros(len(configs))

    def _relative_log_cost(self, configs: list[Config]) -> np.ndarray:
        if self.offline.cost is None:
            return np.zeros(len(configs))
        return self.offline.cost.relative_log_cost(configs, self.dataset, self.encoder)

    def inputs(self, configs: list[Config]) -> np.ndarray:
        """`n x (d + 1)` inputs of the Gaussian process: encoded configurations and m(x)."""
        return np.column_stack([self.encoder.matrix(configs), self.trusted_mean(configs)])
