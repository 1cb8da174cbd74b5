"""What the offline models say of one dataset before its first trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.core.base import Config
from surrogates.core.memo import Memo
from surrogates.gp.fit import MeanPrior
from surrogates.gp.residual_gp import Split
from surrogates.offline.models import OfflineModels
from surrogates.offline.past_tasks import PastTasks
from surrogates.space.candidates import BASE_POOL
from surrogates.space.encoding import SpaceEncoder

Part = tuple[Callable[[list[Config]], np.ndarray], float, float]

NUGGET = 0.05  # share of variance of single configurations where no past task says it
MIN_EXPLAINED = 0.05  # a past task whose own trials do not foresee each other says nothing


@dataclass(frozen=True)
class Deviations:
    """How past tasks deviated from the common opinion, as features of a configuration.

    r_h(x) = f_h(x) - c_h - b_h m(x), with c_h and b_h by least squares over the space: what is left
    of past task h once the opinion has said its part. Column h is r_h / sqrt(number of tasks), so
    that the inner product of two rows is mean_h r_h(x) r_h(x').
    """

    past: PastTasks
    kept: np.ndarray
    """Numbers of the past tasks that are used."""
    line: np.ndarray
    """`h x 2`: c_h and b_h."""
    variance: float
    """Mean over the space of the squared length of a row."""

    @classmethod
    def of(cls, past: PastTasks, cube: np.ndarray, opinion: np.ndarray) -> Deviations | None:
        """Deviations over a sample of the space; None where no past task has any.

        Args:
            past: What each past task said.
            cube: `n x d` encoded configurations spread over the space.
            opinion: (n,) m there; zeros where it is not trusted.
        """
        explained = np.array([task.explained for task in past.tasks])
        kept = np.flatnonzero(explained > MIN_EXPLAINED)
        if not len(kept):
            return None
        told = past.predict(cube)[kept]
        against = np.column_stack([np.ones(len(cube)), opinion])
        line = np.linalg.lstsq(against, told.T, rcond=None)[0].T
        variance = float(((told - line @ against.T) ** 2).mean())
        return cls(past, kept, line, variance) if variance > 1e-9 else None

    @property
    def count(self) -> int:
        """h: the number of columns."""
        return len(self.kept)

    def __call__(self, cube: np.ndarray, opinion: np.ndarray) -> np.ndarray:
        """`n x h` at `n x d` encoded configurations where the opinion is m, of shape (n,)."""
        common = self.line @ np.stack([np.ones(len(cube)), opinion])
        return (self.past.predict(cube)[self.kept] - common).T / np.sqrt(self.count)


class OfflineOpinion:
    """The offline models seen from one dataset; fixed over a search.

    Args:
        offline: Fitted models, or None for a search without history.
        encoder: The space.
        dataset: Meta-features of the new dataset, or None.
        seed: Of the reference sample on which the opinion is standardised.
        without: Parts to leave out, see `surrogates.space.options.PARTS`.
    """

    def __init__(
        self,
        offline: OfflineModels | None,
        encoder: SpaceEncoder,
        dataset: Mapping[str, Any] | None,
        seed: int,
        without: tuple[str, ...] = (),
    ) -> None:
        self.offline = offline or OfflineModels(encoder.columns, True)
        self.encoder = encoder
        self.dataset = dataset
        self.without = without
        self.prior: MeanPrior | None = self.offline.mean_prior
        if "ranker" in without:
            self.prior = None
        self.favourites: list[Config] = []
        pool = encoder.sample(BASE_POOL, seed) if offline is not None else []
        self._parts = self._weighted_parts(pool)
        self._spread = 1.0
        self.score = Memo(self._score, encoder.key)
        """m(x): the blend, mean 0 and sd 1 over the space; zeros without a ranker."""
        self.relative_log_cost = Memo(self._relative_log_cost, encoder.key)
        """Offline opinion on log cost; zeros without one."""
        if self._parts:
            own = self._score(pool)
            self._spread = float(own.std()) or 1.0
            self.favourites = [pool[i] for i in np.argsort(-own, kind="stable")[:512]]
        self._deviations = None
        past = self.offline.past
        if past is not None and "past_tasks" not in without:
            self._deviations = Deviations.of(past, encoder.matrix(pool), self.trusted_score(pool))

    @property
    def nugget(self) -> float:
        """Share of variance that single configurations are expected to have for themselves."""
        past = self.offline.past
        if past is None:
            return NUGGET
        return float(np.clip(past.kernel.noise / (past.kernel.noise + 1.0), 0.01, 0.5))

    @property
    def known(self) -> bool:
        """Whether there is an opinion at all, skilled or not."""
        return self.offline.ranker is not None

    def _score(self, configs: list[Config]) -> np.ndarray:
        out = np.zeros(len(configs))
        for part, weight, centre in self._parts:
            out += weight * (part(configs) - centre)
        return out / self._spread

    def _weighted_parts(self, pool: list[Config]) -> list[Part]:
        """The opinions that count, each with its weight over its sd and its mean over the pool."""
        ranker, past, share = self.offline.ranker, self.offline.past, self.offline.blend.share
        if ranker is None:
            return []
        parts: list[tuple[Callable[[list[Config]], np.ndarray], float]] = []
        if share < 1.0:
            parts.append((lambda c: ranker.predict(c, self.dataset, self.encoder)[0], 1.0 - share))
        if share > 0.0 and past is not None:
            parts.append((lambda c: past.predict(self.encoder.matrix(c)).mean(axis=0), share))
        weighted = []
        for part, weight in parts:
            over = part(pool)
            weighted.append((part, weight / (float(over.std()) or 1.0), float(over.mean())))
        return weighted

    def trusted_score(self, configs: list[Config]) -> np.ndarray:
        """m(x) where the held-out skill earned it a place in the model; else zeros."""
        return self.score(configs) if self.prior is not None else np.zeros(len(configs))

    def _relative_log_cost(self, configs: list[Config]) -> np.ndarray:
        if self.offline.cost is None:
            return np.zeros(len(configs))
        return self.offline.cost.relative_log_cost(configs, self.dataset, self.encoder)

    @property
    def split(self) -> Split:
        """Which columns of `inputs` are what."""
        d = self._deviations
        return Split(self.encoder.dim, d.count if d else 0, d.variance if d else 0.0)

    def inputs(self, configs: list[Config]) -> np.ndarray:
        """`n x (d + 1 + h)`: encoded configurations, m(x), deviations of past tasks."""
        cube, m = self.encoder.matrix(configs), self.trusted_score(configs)
        own = self._deviations(cube, m) if self._deviations else np.zeros((len(configs), 0))
        return np.column_stack([cube, m, own])
