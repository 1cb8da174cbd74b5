"""Prefixes of past trials with their outcomes: the training data of the early predictor."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from surrogates.history.calibration import rung_of
from surrogates.history.features import folds
from surrogates.history.table import META, SIGNAL, History
from surrogates.space.encoding import SpaceEncoder

LAST, FRACTION = "last_score", "fraction"
GAIN, BEST_GAIN = "gain", "best_gain"
BASE, BEST = META + "base_score", SIGNAL + "score_best"
# In units of the score: they enter as gains or not at all.
RAW_SCORES = (LAST, SIGNAL + "score", BEST, SIGNAL + "score_gain")


@dataclass(frozen=True)
class PrefixRows:
    """Training data: n prefixes of past trials with their outcome."""

    features: pd.DataFrame
    """Raw, as `EarlyPredictor.rows` makes them; see `relative`."""
    target: np.ndarray
    """The change, (final - last) / scale."""
    final: np.ndarray
    scale: np.ndarray
    fraction: np.ndarray
    dataset: np.ndarray
    group: np.ndarray
    trial: np.ndarray
    cost: np.ndarray
    """Of the prefix."""
    full_cost: np.ndarray
    sign: float
    rung: np.ndarray
    """The fraction that a row counts for, among those of all prefixes of the history."""

    def subset(self, rows: np.ndarray) -> PrefixRows:
        """The rows at these indices; their rungs stay as they are among all rows."""
        arrays = {
            f.name: getattr(self, f.name)[rows]
            for f in fields(self)
            if f.name not in ("features", "sign")
        }
        features = self.features.iloc[rows].reset_index(drop=True)
        return PrefixRows(features=features, sign=self.sign, **arrays)

    @property
    def rung_keys(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fraction, dataset and rung of the rows, each of shape (n,)."""
        return self.fraction, self.dataset, self.rung

    def training_target(self, center_within_task: bool) -> np.ndarray:
        """The change, less its mean over the group's trials at the same rung if asked, (n,)."""
        if not center_within_task:
            return self.target
        changes = pd.Series(self.target).groupby([self.group.astype(str), self.rung])
        return self.target - changes.transform("mean").to_numpy()

    def typical_changes(
        self, center_within_task: bool, rows: np.ndarray | slice = slice(None)
    ) -> dict[float, float]:
        """The inverse of centring for a new task, by rung: a median over groups, or 0."""
        rungs = self.rung[rows]
        if not center_within_task:
            return dict.fromkeys(np.unique(rungs).tolist(), 0.0)
        means = pd.Series(self.target[rows]).groupby([self.group[rows].astype(str), rungs]).mean()
        medians = means.unstack().median()
        return dict(zip(medians.index.tolist(), medians.tolist(), strict=True))

    def folds(self, at_most: int) -> list[np.ndarray]:
        """Held-out masks: datasets, or trials where there is one dataset."""
        several = len(np.unique(self.dataset.astype(str))) > 1
        return folds(self.dataset if several else self.trial, at_most)


def prefix_rows(history: History, encoder: SpaceEncoder) -> PrefixRows:
    """Rows with fraction < 1 joined to the mean final score of the same trial.

    Of the meta-features only the base score is kept, for `relative`. The others identify a dataset
    more than they predict its trials: with them, forecasts for held-out datasets were worse.
    """
    signals = set(history.columns(SIGNAL))
    ends = pd.DataFrame({"score": history.score, "cost": history.cost})[history.final]
    ends = ends.groupby(history.trial[history.final]).mean().reindex(history.trial)
    final = ends["score"].to_numpy()
    scale = history.group_scales()["std"].reindex(history.group).to_numpy()
    partial = (history.fraction < 1.0) & ~history.failed
    keep = np.flatnonzero(partial & np.isfinite(final) & (scale > 0))
    columns = [c for c in history.table if c == BASE or c in signals]
    features = history.features(keep, encoder, columns)
    features[FRACTION], features[LAST] = history.fraction[keep], history.score[keep]
    return PrefixRows(
        features=features,
        target=(final[keep] - history.score[keep]) / scale[keep],
        final=final[keep],
        scale=scale[keep],
        fraction=history.fraction[keep],
        dataset=history.dataset[keep],
        group=history.group[keep],
        trial=history.trial[keep],
        cost=history.cost[keep],
        full_cost=ends["cost"].to_numpy()[keep],
        sign=history.sign,
        rung=rung_of(history.fraction[keep]),
    )


def relative(features: pd.DataFrame, scale: np.ndarray | float, sign: float) -> pd.DataFrame:
    """Features with scores as gains over the base model in task scales, without any raw score.

    An unknown base score counts as 0. Where less is better, the signal of the best score may hold
    the lowest or the highest one; the better of it and the last score is taken.
    """
    out = features.drop(columns=list(RAW_SCORES), errors="ignore")
    base = sign * _numbers(features[BASE]).fillna(0.0) if BASE in features else 0.0
    out[GAIN] = (features[LAST] - base) / scale
    if BEST in features:
        best = np.maximum(sign * _numbers(features[BEST]), features[LAST])
        out[BEST_GAIN] = (best - base) / scale
    return out.drop(columns=BASE, errors="ignore")


def _numbers(column: pd.Series) -> pd.Series:
    """The column as numbers, NaN where it has none."""
    return pd.to_numeric(column, errors="coerce")
