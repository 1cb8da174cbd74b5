"""Finished trials of past datasets, and the skill of a way of ranking on held-out ones.

A way of ranking is a function of past datasets' trials (`ObservedTrials`) and of new trials before
they run (`CandidateTrials`, which hold no scores: it cannot peek).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from surrogates.core.base import HistoryError
from surrogates.core.metrics import (
    kendall_tau,
    ndcg,
    normal_scores,
    pearson,
    regret_at,
    standard_scores,
)
from surrogates.history.table import META, History
from surrogates.space.encoding import SpaceEncoder

MIN_TRIALS = 3  # a group with fewer configurations says nothing about order
RANKING_METRICS = ("kendall_tau", "pearson", "ndcg5", "regret1", "regret3", "regret5")


@dataclass(frozen=True)
class CandidateTrials:
    """n configurations on new datasets, before they run."""

    features: pd.DataFrame
    """Configuration and meta-features, as CatBoost reads them."""
    cube: np.ndarray
    """`n x d` encoded configurations."""
    group: np.ndarray
    """dataset x model."""


@dataclass(frozen=True)
class ObservedTrials(CandidateTrials):
    """n configurations that were tried on past datasets, sorted by group as CatBoost demands."""

    dataset: np.ndarray
    normal: np.ndarray
    """Normal scores within the group."""
    standardised: np.ndarray
    """(score - mean) / sd within the group."""

    def observed(self, rows: np.ndarray) -> ObservedTrials:
        """These rows (a mask or sorted indices) after they ran."""
        candidates = self.candidates(rows)
        return ObservedTrials(
            **vars(candidates),
            dataset=self.dataset[rows],
            normal=self.normal[rows],
            standardised=self.standardised[rows],
        )

    def candidates(self, rows: np.ndarray) -> CandidateTrials:
        """These rows before they run."""
        features = self.features.iloc[rows].reset_index(drop=True)
        return CandidateTrials(features, self.cube[rows], self.group[rows])

    def means(self, columns: Sequence[str]) -> pd.DataFrame:
        """Mean of numeric feature columns by group."""
        numbers = self.features[list(columns)].apply(pd.to_numeric, errors="coerce")
        return numbers.groupby(self.group).mean()


Method = Callable[[ObservedTrials, CandidateTrials, int], np.ndarray]
"""(observed, candidates, seed) -> scores of shape (n,), or (draws, n) to average over draws."""


@dataclass(frozen=True)
class Trials(ObservedTrials):
    """All finished trials of groups that have an order, one row per configuration and group."""

    score: np.ndarray
    """Mean over repeats with other seeds."""

    def subset(self, rows: np.ndarray) -> Trials:
        """The trials of these sorted indices."""
        return Trials(**vars(self.observed(rows)), score=self.score[rows])

    @classmethod
    def of(cls, history: History, encoder: SpaceEncoder) -> Trials:
        """Full-length trials of the groups whose scores have an order.

        Raises:
            HistoryError: There is no such group.
        """
        means = _mean_scores(history, encoder)
        means = means[means.groupby("group")["score"].transform(np.ptp) > 0]
        if means.empty:
            raise HistoryError("history has no dataset with two final scores that differ.")
        scores, rows = means.groupby("group")["score"], means["row"].to_numpy()
        return cls(
            features=history.features(rows, encoder, history.columns(META)),
            cube=encoder.matrix([history.configs[i] for i in rows]),
            group=means["group"].to_numpy(object),
            dataset=history.dataset[rows].astype(str),
            normal=scores.transform(lambda s: normal_scores(s.to_numpy())).to_numpy(),
            standardised=scores.transform(lambda s: standard_scores(s.to_numpy())).to_numpy(),
            score=means["score"].to_numpy(),
        )


def _mean_scores(history: History, encoder: SpaceEncoder) -> pd.DataFrame:
    """Final scores by group and configuration, sorted by group: group, row (the first), score."""
    final = np.flatnonzero(history.final)
    runs = pd.DataFrame(
        {
            "group": history.group[final].astype(str),
            "config": [encoder.key(history.configs[i]) for i in final],
            "row": final,
            "score": history.score[final],
        }
    )
    repeats = runs.groupby(["group", "config"], sort=False)
    means = repeats.agg(row=("row", "first"), score=("score", "mean")).reset_index("group")
    # Rounding must not set a mean of equal scores apart from a single one: a tie is a tie.
    means["score"] = means["score"].clip(*(repeats["score"].agg(f).array for f in ("min", "max")))
    return means.sort_values(["group", "row"], ignore_index=True)


def held_out_predictions(
    trials: Trials, method: Method, masks: Sequence[np.ndarray], seed: int = 0
) -> np.ndarray:
    """Predictions of a way of ranking, `draws x n`, for the rows of each mask from all others.

    NaN for rows in no mask.
    """
    parts = [
        np.atleast_2d(method(trials.observed(~mask), trials.candidates(mask), seed))
        for mask in masks
    ]
    out = np.full((len(parts[0]), len(trials.group)), np.nan)
    for mask, part in zip(masks, parts, strict=True):
        out[:, mask] = part
    return out


def evaluate_predictions(
    trials: Trials, predicted: np.ndarray, masks: Iterable[np.ndarray]
) -> pd.DataFrame:
    """Skill of predictions of shape (n,), or `draws x n` to average over, on held-out groups.

    Returns:
        One row per mask and group with at least three configurations in it: dataset, group, trials
        and RANKING_METRICS.
    """
    records = []
    for mask in masks:
        held_out = np.flatnonzero(mask)
        groups = pd.Series(held_out).groupby(trials.group[mask].astype(str)).indices
        for group, found in groups.items():
            rows = held_out[found]
            if len(rows) < MIN_TRIALS:
                continue
            drawn = [_metrics(draw[rows], trials, rows) for draw in np.atleast_2d(predicted)]
            place = {"dataset": trials.dataset[rows[0]], "group": group, "trials": len(rows)}
            records.append(place | pd.DataFrame(drawn).mean().to_dict())
    table = pd.DataFrame(records, columns=["dataset", "group", "trials", *RANKING_METRICS])
    return table.astype(dict.fromkeys(RANKING_METRICS, float))


def _metrics(predicted: np.ndarray, trials: Trials, rows: np.ndarray) -> dict[str, float]:
    """Metrics of one order of one group."""
    score = trials.score[rows]
    return {
        "kendall_tau": kendall_tau(predicted, score),
        "pearson": pearson(predicted, trials.normal[rows]),
        "ndcg5": ndcg(predicted, score, 5),
        **{f"regret{k}": regret_at(predicted, score, k) for k in (1, 3, 5)},
    }


def dataset_means(table: pd.DataFrame, metrics: Sequence[str] = RANKING_METRICS) -> pd.DataFrame:
    """One row per dataset: the groups of one dataset are not independent evidence."""
    return table.groupby("dataset")[list(metrics)].mean()
