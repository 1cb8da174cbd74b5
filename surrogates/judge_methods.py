"""Ways to rank configurations on a dataset nobody has tried: learned ones and simple ones.

Each is a function of what past datasets showed (`Past`) and of what is known of new trials before
they run (`New`, which holds no scores: a method cannot peek). It returns a number for each new
trial, higher for better; only the order within a group counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from catboost import CatBoostRanker, CatBoostRegressor

from surrogates.base import HistoryError
from surrogates.encoding import PREFIX, SpaceEncoder
from surrogates.features import FeatureSchema, informative, matching
from surrogates.history import META, History
from surrogates.metrics import normal_scores, standard_scores
from surrogates.past_tasks import PastTasks
from surrogates.ranker import POINTWISE

NEIGHBOURS = 5  # a configuration that was not tried is read from this many near ones
DRAWS = 50  # random orders that chance is averaged over
LOSSES = ("QueryRMSE", "YetiRank", "PairLogit", "QuerySoftMax", POINTWISE)


@dataclass(frozen=True)
class New:
    """n trials of new datasets, before they run."""

    features: pd.DataFrame
    """Configuration and meta-features, as CatBoost reads them."""
    cube: np.ndarray
    """`n x d` encoded configurations."""
    group: np.ndarray
    """dataset x model."""


@dataclass(frozen=True)
class Past(New):
    """n finished trials of past datasets, sorted by group as CatBoost demands."""

    normal: np.ndarray
    """Normal scores within the group."""
    standardised: np.ndarray
    """(score - mean) / sd within the group."""

    def means(self, columns: Sequence[str]) -> pd.DataFrame:
        """Mean of numeric feature columns by group."""
        numbers = self.features[list(columns)].apply(pd.to_numeric, errors="coerce")
        return numbers.groupby(self.group).mean()


Method = Callable[[Past, New, int], np.ndarray]
"""(past, new, seed) -> scores of shape (n,), or (draws, n) to average over draws."""


@dataclass(frozen=True)
class Trials(Past):
    """All trials that can be judged, with their outcome."""

    score: np.ndarray
    dataset: np.ndarray

    @classmethod
    def of(cls, history: History, encoder: SpaceEncoder) -> Trials:
        """Full-length trials of the groups whose scores have an order.

        Raises:
            HistoryError: There is no such group.
        """
        normal = np.full(len(history), np.nan)
        standardised = normal.copy()
        for name in np.unique(history.group[history.final].astype(str)):
            rows = np.flatnonzero(history.final & (history.group == name))
            score = history.score[rows]
            if len(rows) >= 2 and np.ptp(score) > 0:
                normal[rows] = normal_scores(score)
                standardised[rows] = standard_scores(score)
        keep = np.flatnonzero(np.isfinite(normal))
        if len(keep) == 0:
            raise HistoryError("history has no dataset with two final scores that differ.")
        keep = keep[np.argsort(history.group[keep].astype(str), kind="stable")]
        configs = [history.configs[i] for i in keep]
        meta = history.table[history.columns(META)].iloc[keep].reset_index(drop=True)
        return cls(
            features=pd.concat([encoder.frame(configs), meta], axis=1),
            cube=encoder.matrix(configs),
            group=history.group[keep].astype(str),
            normal=normal[keep],
            standardised=standardised[keep],
            score=history.score[keep],
            dataset=history.dataset[keep].astype(str),
        )

    def past(self, rows: np.ndarray) -> Past:
        """What is known of the masked trials after they ran."""
        return Past(
            self.features[rows].reset_index(drop=True),
            self.cube[rows],
            self.group[rows],
            self.normal[rows],
            self.standardised[rows],
        )

    def new(self, rows: np.ndarray) -> New:
        """What is known of the masked trials before they run."""
        return New(self.features[rows].reset_index(drop=True), self.cube[rows], self.group[rows])


@dataclass(frozen=True)
class Boosted:
    """CatBoost trained with a ranking loss by groups, or pointwise on standardised scores."""

    loss: str
    trees: int = 150
    meta: tuple[str, ...] = ("*",)
    """Patterns of the meta-features it sees (without `meta.`); none: the configuration only."""
    settings: Mapping[str, float] = field(
        default_factory=lambda: {"depth": 4, "learning_rate": 0.08, "l2_leaf_reg": 5.0}
    )

    def __call__(self, past: Past, new: New, seed: int) -> np.ndarray:
        """Scores of shape (n,); zeros where the past has nothing that varies."""
        meta = [str(c).removeprefix(META) for c in past.features if str(c).startswith(META)]
        wanted = {META + name for name in matching(meta, self.meta)}
        columns = [c for c in past.features if str(c).startswith(PREFIX) or c in wanted]
        seen = informative(past.features[columns])
        if seen.shape[1] == 0:
            return np.zeros(len(new.cube))
        schema = FeatureSchema.infer(seen)
        common = {
            "loss_function": self.loss,
            "iterations": self.trees,
            "border_count": 64,
            "random_seed": seed,
            "thread_count": 1,
            "verbose": 0,
            "allow_writing_files": False,
            **self.settings,
        }
        if self.loss == POINTWISE:
            model = CatBoostRegressor(**common)
            pool = schema.pool(schema.prepare(seen), label=past.standardised)
        else:
            model = CatBoostRanker(**common)
            target = past.normal
            if self.loss != "QueryRMSE":  # the others take relevances in [0, 1]
                target = (target - target.min()) / np.ptp(target)
            groups = np.unique(past.group, return_inverse=True)[1]
            pool = schema.pool(schema.prepare(seen), label=target, group_id=groups)
        model.fit(pool)
        return model.predict(schema.pool(schema.prepare(new.features)), thread_count=1)


def past_tasks_mean(past: Past, new: New, seed: int) -> np.ndarray:
    """Mean over past groups of what a Gaussian process on the group's own trials predicts."""
    tasks = PastTasks.of_scores(past.group, past.cube, past.standardised, seed)
    return np.zeros(len(new.cube)) if tasks is None else tasks.predict(new.cube).mean(axis=0)


def random_order(past: Past, new: New, seed: int) -> np.ndarray:
    """Chance: independent orders, one a draw."""
    return np.random.default_rng(seed).random((DRAWS, len(new.cube)))


def mean_rank(past: Past, new: New, seed: int) -> np.ndarray:
    """Mean normal score of the nearest past configurations of all datasets together."""
    return _near(new.cube, past.cube, past.normal, NEIGHBOURS)


def greedy_portfolio(past: Past, new: New, seed: int) -> np.ndarray:
    """Each choice lowers the mean regret of the best so far over past datasets the most.

    Regret of a configuration on a past group: best normal score there minus the one read from its
    nearest trials there. Source: greedy portfolios of Auto-sklearn 2.0 (arXiv 2007.04074).
    """
    order = np.zeros(len(new.cube))
    for name in np.unique(new.group):
        rows = np.flatnonzero(new.group == name)
        regret = np.array(
            [
                past.normal[past.group == g].max()
                - _near(new.cube[rows], past.cube[past.group == g], past.normal[past.group == g])
                for g in np.unique(past.group)
            ]
        )
        left, best = list(range(len(rows))), np.full(len(regret), np.inf)
        for place in range(len(rows)):
            reached = np.minimum(best[:, None], regret[:, left]).mean(axis=0)
            # Once nothing improves on the chosen ones, the lowest regret of its own goes first.
            tie = regret[:, left].mean(axis=0)
            chosen = left.pop(int(np.lexsort((tie, np.round(reached, 12)))[0]))
            order[rows[chosen]] = -place
            best = np.minimum(best, regret[:, chosen])
    return order


def nearest_dataset(past: Past, new: New, seed: int) -> np.ndarray:
    """What the nearest configurations reached on the group with the nearest meta-features.

    Distance: Euclidean over meta-features standardised over past groups, those that vary there.
    """
    columns = [str(c) for c in past.features if str(c).startswith(META)]
    known = past.means(columns)
    known = known.loc[:, known.notna().all() & (known.std(ddof=0) > 1e-12)]
    out = np.zeros(len(new.cube))
    for name in np.unique(new.group):
        rows = np.flatnonzero(new.group == name)
        own = new.features[known.columns].iloc[rows].apply(pd.to_numeric, errors="coerce").mean()
        distance = (((known - own.fillna(known.mean())) / known.std(ddof=0)) ** 2).sum(axis=1)
        like = past.group == distance.idxmin()
        out[rows] = _near(new.cube[rows], past.cube[like], past.normal[like])
    return out


def _near(cube: np.ndarray, past: np.ndarray, value: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Mean value of the k nearest of `m x d` past points for each of `n x d` points."""
    squared = ((cube**2).sum(axis=1)[:, None] + (past**2).sum(axis=1)) - 2.0 * cube @ past.T
    near = np.argsort(np.round(squared, 12), axis=1, kind="stable")[:, :k]
    return value[near].mean(axis=1)


BASELINES: dict[str, Method] = {
    "mean of past tasks": past_tasks_mean,
    "mean rank portfolio": mean_rank,
    "greedy regret portfolio": greedy_portfolio,
    "nearest dataset": nearest_dataset,
    "random": random_order,
}
