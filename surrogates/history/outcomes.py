"""How finished trials of past datasets went, and how well a way of ranking foresees held-out ones.

A way of ranking is a function of what past datasets showed (`Past`) and of what is known of new
trials before they run (`New`, which holds no scores: it cannot peek).
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
class New:
    """n configurations on new datasets, before they run."""

    features: pd.DataFrame
    """Configuration and meta-features, as CatBoost reads them."""
    cube: np.ndarray
    """`n x d` encoded configurations."""
    group: np.ndarray
    """dataset x model."""


@dataclass(frozen=True)
class Past(New):
    """n configurations that past datasets tried, sorted by group as CatBoost demands."""

    dataset: np.ndarray
    normal: np.ndarray
    """Normal scores within the group."""
    standardised: np.ndarray
    """(score - mean) / sd within the group."""

    def past(self, rows: np.ndarray) -> Past:
        """What is known of these rows (a mask or sorted numbers) after they ran."""
        return Past(
            self.features.iloc[rows].reset_index(drop=True),
            self.cube[rows],
            self.group[rows],
            self.dataset[rows],
            self.normal[rows],
            self.standardised[rows],
        )

    def new(self, rows: np.ndarray) -> New:
        """What is known of these rows before they run."""
        features = self.features.iloc[rows].reset_index(drop=True)
        return New(features, self.cube[rows], self.group[rows])

    def means(self, columns: Sequence[str]) -> pd.DataFrame:
        """Mean of numeric feature columns by group."""
        numbers = self.features[list(columns)].apply(pd.to_numeric, errors="coerce")
        return numbers.groupby(self.group).mean()


Method = Callable[[Past, New, int], np.ndarray]
"""(past, new, seed) -> scores of shape (n,), or (draws, n) to average over draws."""


@dataclass(frozen=True)
class Trials(Past):
    """All finished trials of groups that have an order, one row a configuration of a group."""

    score: np.ndarray
    """Mean over repeats with other seeds."""

    def part(self, rows: np.ndarray) -> Trials:
        """The trials of these sorted numbers."""
        return Trials(**vars(self.past(rows)), score=self.score[rows])

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
        configs = [history.configs[i] for i in rows]
        meta = history.table[history.columns(META)].iloc[rows].reset_index(drop=True)
        return cls(
            features=pd.concat([encoder.frame(configs), meta], axis=1),
            cube=encoder.matrix(configs),
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


def held_out_scores(
    trials: Trials, method: Method, held_out: Iterable[np.ndarray], seed: int = 0
) -> pd.DataFrame:
    """How well a way of ranking orders each group of the rows it was not shown.

    Args:
        trials: All that is known.
        method: The way of ranking.
        held_out: Masks of shape (n,); the rows outside a mask are what the method learns from.
        seed: Of the method.

    Returns:
        As `judged`.
    """
    masks = list(held_out)
    return judged(trials, held_out_predictions(trials, method, masks, seed), masks)


def held_out_predictions(
    trials: Trials, method: Method, masks: Sequence[np.ndarray], seed: int = 0
) -> np.ndarray:
    """What a way of ranking says of the rows that it was not shown, `draws x n`.

    NaN for rows in no mask; the rest as `held_out_scores`.
    """
    parts = [np.atleast_2d(method(trials.past(~m), trials.new(m), seed)) for m in masks]
    out = np.full((len(parts[0]), len(trials.group)), np.nan)
    for mask, part in zip(masks, parts, strict=True):
        out[:, mask] = part
    return out


def judged(trials: Trials, predicted: np.ndarray, masks: Iterable[np.ndarray]) -> pd.DataFrame:
    """How well predictions of shape (n,), or `draws x n` to average over, order held-out groups.

    Returns:
        One row a mask and group with at least three configurations in it: dataset, group, trials
        and RANKING_METRICS.
    """
    records = []
    for test in masks:
        held_out = np.flatnonzero(test)
        groups = pd.Series(held_out).groupby(trials.group[test].astype(str)).indices
        for group, found in groups.items():
            rows = held_out[found]
            if len(rows) < MIN_TRIALS:
                continue
            drawn = pd.DataFrame([_judge(p[rows], trials, rows) for p in np.atleast_2d(predicted)])
            place = {"dataset": trials.dataset[rows[0]], "group": group, "trials": len(rows)}
            records.append(place | drawn.mean().to_dict())
    table = pd.DataFrame(records, columns=["dataset", "group", "trials", *RANKING_METRICS])
    return table.astype(dict.fromkeys(RANKING_METRICS, float))


def _judge(predicted: np.ndarray, trials: Trials, rows: np.ndarray) -> dict[str, float]:
    """Metrics of one order of one group."""
    score = trials.score[rows]
    return {
        "kendall_tau": kendall_tau(predicted, score),
        "pearson": pearson(predicted, trials.normal[rows]),
        "ndcg5": ndcg(predicted, score, 5),
        **{f"regret{k}": regret_at(predicted, score, k) for k in (1, 3, 5)},
    }


def dataset_means(table: pd.DataFrame, metrics: Sequence[str] = RANKING_METRICS) -> pd.DataFrame:
    """One row a dataset: the groups of one dataset are no independent evidence."""
    return table.groupby("dataset")[list(metrics)].mean()
