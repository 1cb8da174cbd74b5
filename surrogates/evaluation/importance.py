"""Permutation importance of the hyperparameters in a run's scores, with its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from surrogates.core.base import Config
from surrogates.core.metrics import spearman
from surrogates.history.features import QUIET
from surrogates.space.axes import Axis

Predictor = Callable[[pd.DataFrame], np.ndarray]
MIN_TRIALS = 8
MIN_SKILL = 0.3
FOLDS = 5
REPEATS = 20


@dataclass(frozen=True)
class Importance:
    """Importance of each hyperparameter to a model of one run's trials."""

    table: pd.DataFrame
    """Columns `name`, `importance` (rise of the squared error when the column is shuffled, as a
    share of the score's variance) and `sd` over the shuffles; the most important first."""
    trials: int
    """Configurations that the model was fitted to."""
    skill: float
    """Spearman correlation of predictions for held-out trials with their scores."""

    @property
    def trusted(self) -> bool:
        """True if the model predicts configurations that it has not seen."""
        return self.skill >= MIN_SKILL


def importance_of(
    configs: Sequence[Config], scores: ArrayLike, axes: Mapping[str, Axis], seed: int
) -> Importance | None:
    """Permutation importance (Breiman 2001) in a small CatBoost model of n final scores.

    None with fewer than `MIN_TRIALS` trials, no hyperparameter, or no spread of scores.
    """
    score = np.asarray(scores, dtype=np.float64)
    if len(score) < MIN_TRIALS or not axes or np.ptp(score) == 0:
        return None
    features = pd.DataFrame(
        {name: [axis.feature(c.get(name)) for c in configs] for name, axis in axes.items()}
    )
    generator = np.random.default_rng(seed)
    fold = generator.permutation(len(score)) % FOLDS
    held_out = np.full(len(score), np.nan)
    for k in range(FOLDS):
        predict = _fit(features[fold != k], score[fold != k], seed)
        held_out[fold == k] = predict(features[fold == k])
    table = _shuffled(_fit(features, score, seed), features, score, generator)
    return Importance(table, len(score), spearman(held_out, score))


def _shuffled(
    predict: Predictor, features: pd.DataFrame, score: np.ndarray, generator: np.random.Generator
) -> pd.DataFrame:
    """Rise of the squared error by shuffling each column; one call for all its shuffles."""
    error = np.mean((predict(features) - score) ** 2)
    rows = []
    for name in features:
        stacked = pd.concat([features] * REPEATS, ignore_index=True)
        shuffles = [generator.permutation(features[name].to_numpy()) for _ in range(REPEATS)]
        stacked[name] = np.concatenate(shuffles)
        errors = (predict(stacked).reshape(REPEATS, -1) - score) ** 2
        share = (errors.mean(axis=1) - error) / score.var()
        rows.append((name, float(share.mean()), float(share.std(ddof=1))))
    table = pd.DataFrame(rows, columns=["name", "importance", "sd"])
    return table.sort_values("importance", ascending=False, ignore_index=True)


def _fit(features: pd.DataFrame, score: np.ndarray, seed: int) -> Predictor:
    """A small model of the score; the mean where there is nothing to learn from."""
    from catboost import CatBoostRegressor  # slow to import, and needed for importances alone

    mean = float(score.mean())
    if np.ptp(score) == 0 or (features.nunique(dropna=False) <= 1).all():
        return lambda rows: np.full(len(rows), mean)
    model = CatBoostRegressor(
        iterations=100,
        depth=3,
        learning_rate=0.1,
        random_seed=seed,
        cat_features=[n for n in features if not pd.api.types.is_float_dtype(features[n])],
        **QUIET,
    )
    model.fit(features, score)
    return lambda rows: np.asarray(model.predict(rows))
