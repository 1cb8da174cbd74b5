"""Simple ways to rank configurations on an unseen dataset, which learned ones must beat.

Each is a `surrogates.history.outcomes.Method`. It returns a number for each new
configuration, higher for better; only the order within a group counts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from surrogates.history.outcomes import CandidateTrials, Method, ObservedTrials
from surrogates.history.table import META
from surrogates.offline.boosting import POINTWISE

NEIGHBOURS = 5  # trials that the score of an untried configuration is read from
DRAWS = 50  # random orders to average over
LOSSES = ("QueryRMSE", "YetiRank", "PairLogit", "QuerySoftMax", POINTWISE)


def random_order(past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
    """Chance: one independent order per draw."""
    return np.random.default_rng(seed).random((DRAWS, len(new.cube)))


def mean_rank(past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
    """Mean normal score of the nearest past configurations of all datasets together."""
    return _near(new.cube, past.cube, past.normal, NEIGHBOURS)


def greedy_portfolio(past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
    """Greedy: each choice lowers the mean regret of the best so far over past datasets the most.

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


def nearest_dataset(past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
    """Scores of the nearest configurations on the group with the nearest meta-features.

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
    squared = cdist(cube, past, "sqeuclidean")
    near = np.argsort(np.round(squared, 12), axis=1, kind="stable")[:, :k]
    return value[near].mean(axis=1)


BASELINES: dict[str, Method] = {
    "mean rank portfolio": mean_rank,
    "greedy regret portfolio": greedy_portfolio,
    "nearest dataset": nearest_dataset,
    "random": random_order,
}
