"""The ranking of configurations on a dataset without trials, learned from other datasets.

CatBoost over past trials, group = dataset x model, features = configuration and dataset
meta-features (`surrogates.offline.boosting`); an ensemble over bootstrapped datasets. Source:
AutoPipe (arXiv 2603.18773).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from surrogates.core.base import Config, HistoryError
from surrogates.history.features import (
    FeatureSchema,
    described,
    folds,
    informative,
    sample_of,
    save_model,
)
from surrogates.history.outcomes import (
    Trials,
    dataset_means,
    evaluate_predictions,
    held_out_predictions,
)
from surrogates.history.table import META, History
from surrogates.offline.boosting import POINTWISE, Boosted, Model, new_model, predictions
from surrogates.space.encoding import SpaceEncoder

MAX_FOLDS = 8
MAX_EVALUATED = 6_000  # trials of whole datasets that variants are compared on
MEMBERS = 5
MIN_TAU_GAIN = 0.01  # of Kendall's tau, that a less simple variant must have
VARIANTS = (
    Boosted("QueryRMSE", meta=()),
    Boosted(POINTWISE, meta=()),
    Boosted("QueryRMSE"),
    Boosted(POINTWISE),
)
"""Ways of training the ranker, the simplest first; held-out skill decides among them."""


@dataclass(frozen=True)
class RankerSkill:
    """Skill of an order of the trials of unseen datasets (mean over held-out ones)."""

    kendall_tau: float = 0.0
    pearson: float = 0.0
    """Correlation with the normal score: the share of its scale that is explained."""
    pearson_sd: float = 0.0
    """Spread of that correlation over datasets."""
    pearson_se: float = 0.0
    ndcg5: float = 0.0
    regret1: float = 1.0
    regret3: float = 1.0
    regret5: float = 1.0
    datasets: int = 0
    """Held-out datasets; 0 where trials of one dataset were held out instead."""

    @classmethod
    def of(cls, table: pd.DataFrame, several: bool) -> RankerSkill:
        """Means over datasets of `evaluate_predictions`, and their spread, 0.3 for a single one.

        `several` says whether whole datasets were held out, not trials of a single one.
        """
        if table.empty:
            return cls()
        each = dataset_means(table)
        spread = float(each["pearson"].std(ddof=1)) if len(each) > 1 else 0.3
        return cls(
            pearson_sd=spread,
            pearson_se=spread / float(np.sqrt(len(each))),
            datasets=len(each) if several else 0,
            **{str(k): float(v) for k, v in each.mean().items()},
        )


@dataclass
class Ranker:
    """Ensemble of CatBoost rankers over bootstrapped datasets. Build it with `fit` or `load`."""

    variant: Boosted
    schema: FeatureSchema
    models: list[Model]
    skill: RankerSkill
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row per held-out group: tau, pearson, ndcg5, regrets (kept for reports)."""
    out_of_fold: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,): predictions for the trials it was fitted to, made when they were held out; NaN for
    those that were not evaluated. Not saved."""

    @classmethod
    def fit(
        cls,
        history: History,
        encoder: SpaceEncoder,
        seed: int = 0,
        members: int = MEMBERS,
        variants: tuple[Boosted, ...] = VARIANTS,
    ) -> Ranker:
        """Choose a variant by leave-one-dataset-out Kendall tau, then train the ensemble on all.

        Raises:
            HistoryError: No group has two final scores that differ, or no configurations do.
        """
        trials = Trials.of(history, encoder)
        if not any(str(c).startswith(META) for c in informative(trials.features)):
            variants = tuple(v for v in variants if not v.meta) or variants
        rows = sample_of(trials.dataset, MAX_EVALUATED, seed)
        sample = trials.subset(rows)
        several = len(np.unique(trials.dataset)) > 1
        masks = folds(sample.dataset if several else np.arange(len(rows)) % 5, MAX_FOLDS)
        best, table, out_of_fold = variants[0], pd.DataFrame(), np.full(len(trials.score), np.nan)
        for variant in variants:
            [predicted] = held_out_predictions(sample, variant, masks, seed)
            found = evaluate_predictions(sample, predicted, masks)
            # Earlier variants are simpler: a later one must be clearly better, not luckier.
            if variant is variants[0] or _tau(found) > _tau(table) + MIN_TAU_GAIN:
                best, table, out_of_fold[rows] = variant, found, predicted
        ensemble = replace(best, members=members)
        schema = ensemble.schema(trials)
        if not schema.columns:
            raise HistoryError(
                "every configuration in the history is the same: nothing to learn from."
            )
        models = ensemble.fit(trials, schema, seed)
        return cls(best, schema, models, RankerSkill.of(table, several), table, out_of_fold)

    def predict(
        self, configs: list[Config], dataset: Mapping[str, Any] | None, encoder: SpaceEncoder
    ) -> np.ndarray:
        """Mean of the ensemble, (n,): normal scores, comparable within one dataset alone."""
        if not configs:
            return np.zeros(0)
        table = described(encoder, configs, dataset)
        return predictions(self.models, self.schema, table).mean(axis=0)

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and one .cbm per member."""
        for i, model in enumerate(self.models):
            save_model(model, folder / f"ranker-{i}.cbm")
        variant = self.variant
        payload = {
            "variant": {
                "loss": variant.loss,
                "use_meta": bool(variant.meta),
                "trees": variant.trees,
                "depth": variant.depth,
            },
            "schema": asdict(self.schema),
            "skill": asdict(self.skill),
            "members": len(self.models),
            "held_out": self.held_out.to_dict("records"),
        }
        (folder / "ranker.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Inverse of `save`; predictions are bit-equal."""
        payload = json.loads((folder / "ranker.json").read_text())
        stored = payload["variant"]
        meta = ("*",) if stored["use_meta"] else ()
        variant = Boosted(stored["loss"], stored["trees"], meta, stored["depth"])
        models = [
            new_model(variant.loss).load_model(str(folder / f"ranker-{i}.cbm"))
            for i in range(payload["members"])
        ]
        return cls(
            variant,
            FeatureSchema.from_dict(payload["schema"]),
            models,
            RankerSkill(**payload["skill"]),
            pd.DataFrame(payload["held_out"]),
        )


def _tau(table: pd.DataFrame) -> float:
    return float(dataset_means(table)["kendall_tau"].mean())
