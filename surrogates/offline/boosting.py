"""CatBoost as a way of ranking, set up once for the search and for its evaluation.

Ranking losses take normal scores within a group as target, the pointwise loss standardised ones,
so that datasets weigh the same whatever their units and levels. Sources: YetiRank (Gulin et al.,
2011) and QueryRMSE as implemented in CatBoost (arXiv 1706.09516).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from catboost import CatBoostRanker, CatBoostRegressor

from surrogates.history.features import QUIET, FeatureSchema, informative, matching
from surrogates.history.outcomes import CandidateTrials, ObservedTrials
from surrogates.history.table import META
from surrogates.space.encoding import PREFIX

POINTWISE = "RMSE"
Model: TypeAlias = CatBoostRanker | CatBoostRegressor


@dataclass(frozen=True)
class Boosted:
    """A way of training: one model on all past rows, or an ensemble over bootstrapped datasets."""

    loss: str
    trees: int = 150
    meta: tuple[str, ...] = ("*",)
    """Patterns of the meta-features that it sees (without `meta.`); empty: configurations only."""
    depth: int = 4
    members: int = 0
    """Of the ensemble; 0: one model, trained on every row once."""

    def __call__(self, past: ObservedTrials, new: CandidateTrials, seed: int) -> np.ndarray:
        """Scores of shape (n,); zeros where the past has nothing that varies."""
        schema = self.schema(past)
        if not schema.columns or np.ptp(past.normal) == 0:
            return np.zeros(len(new.cube))
        return predictions(self.fit(past, schema, seed), schema, new.features).mean(axis=0)

    def schema(self, past: ObservedTrials) -> FeatureSchema:
        """The columns that it may use and that vary."""
        meta = [str(c).removeprefix(META) for c in past.features if str(c).startswith(META)]
        wanted = {META + name for name in matching(meta, self.meta)}
        columns = [c for c in past.features if str(c).startswith(PREFIX) or c in wanted]
        return FeatureSchema.infer(informative(past.features[columns]))

    def fit(self, past: ObservedTrials, schema: FeatureSchema, seed: int) -> list[Model]:
        """The model, or one per member; a dataset drawn twice counts double in its groups."""
        if not self.members:
            return [self._fit_one(past, schema, seed)]
        models = []
        for member in range(self.members):
            drawn = bootstrap(past.dataset, np.random.default_rng([seed, member]))
            models.append(self._fit_one(past.observed(drawn), schema, seed + member))
        return models

    def _fit_one(self, past: ObservedTrials, schema: FeatureSchema, seed: int) -> Model:
        model = new_model(
            self.loss,
            loss_function=self.loss,
            iterations=self.trees,
            depth=self.depth,
            learning_rate=0.08,
            l2_leaf_reg=5.0,
            border_count=64,
            random_seed=seed,
            **QUIET,
        )
        if self.loss == POINTWISE:
            return model.fit(schema.pool(past.features, label=past.standardised))
        target = past.normal
        if self.loss != "QueryRMSE":  # the others take relevances in [0, 1]
            target = (target - target.min()) / max(float(np.ptp(target)), 1e-12)
        groups = np.unique(past.group, return_inverse=True)[1]
        return model.fit(schema.pool(past.features, label=target, group_id=groups))


def new_model(loss: str, **settings: Any) -> Model:
    """An untrained model of the kind that the loss needs."""
    return (CatBoostRegressor if loss == POINTWISE else CatBoostRanker)(**settings)


def predictions(models: list[Model], schema: FeatureSchema, features: pd.DataFrame) -> np.ndarray:
    """Scores of every model for a table of n rows, `models x n`."""
    pool = schema.pool(features)
    return np.stack([model.predict(pool, thread_count=1) for model in models])


def bootstrap(dataset: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sorted rows of datasets drawn with replacement; 80 % of the rows where there is one dataset.

    The groups of a dataset come and go together: they are not independent evidence.
    """
    names = np.unique(dataset)
    if len(names) == 1:
        return np.sort(
            rng.choice(len(dataset), size=max(2, int(0.8 * len(dataset))), replace=False)
        )
    drawn = rng.choice(names, size=len(names), replace=True)
    return np.sort(np.concatenate([np.flatnonzero(dataset == name) for name in drawn]))
