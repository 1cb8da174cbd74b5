"""The offline opinion: which configurations are good on a dataset nobody has tried yet.

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
    fixed_columns,
    folds,
    informative,
    sample_of,
    save_model,
)
from surrogates.history.outcomes import Trials, dataset_means, held_out_predictions, judged
from surrogates.history.table import META, History
from surrogates.offline.boosting import POINTWISE, Boosted, Model, new_model, predictions
from surrogates.space.encoding import SpaceEncoder

MAX_FOLDS = 8
MAX_JUDGED = 6_000  # variants are compared on so many trials of whole datasets
MEMBERS = 5


@dataclass(frozen=True)
class RankerVariant:
    """One way of training the ranker; which one is used is decided leave-one-dataset-out."""

    loss: str = "QueryRMSE"
    use_meta: bool = False
    trees: int = 150
    depth: int = 4

    @property
    def boosted(self) -> Boosted:
        """One model of it."""
        return Boosted(self.loss, self.trees, ("*",) if self.use_meta else (), self.depth)


VARIANTS = (
    RankerVariant("QueryRMSE"),
    RankerVariant(POINTWISE),
    RankerVariant("QueryRMSE", use_meta=True),
    RankerVariant(POINTWISE, use_meta=True),
)


@dataclass(frozen=True)
class RankerSkill:
    """How well the ranker orders datasets it was not trained on (mean over held-out ones)."""

    kendall_tau: float = 0.0
    pearson: float = 0.0
    """Correlation with the normal score: the share of its scale the opinion explains."""
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
        """Means over datasets, and how far they spread; 0.3 where nothing says it.

        Args:
            table: One row a held-out group, see `surrogates.history.outcomes.judged`.
            several: Whether datasets were held out, not trials of the only one.
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

    variant: RankerVariant
    schema: FeatureSchema
    models: list[Model]
    skill: RankerSkill
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row a held-out group: tau, pearson, ndcg5, regrets (kept for reports)."""
    foreseen: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,): what it said of the trials it was fitted to when they were held out; NaN for those
    that were not among the judged ones. Not saved."""

    @classmethod
    def fit(
        cls,
        history: History,
        encoder: SpaceEncoder,
        seed: int = 0,
        members: int = MEMBERS,
        variants: tuple[RankerVariant, ...] = VARIANTS,
    ) -> Ranker:
        """Choose a variant by leave-one-dataset-out Kendall tau, then train the ensemble on all.

        Raises:
            HistoryError: No group has two final scores that differ, or no configurations do.
        """
        trials = Trials.of(history, encoder)
        if not any(str(c).startswith(META) for c in informative(trials.features)):
            variants = tuple(v for v in variants if not v.use_meta) or variants
        rows = sample_of(trials.dataset, MAX_JUDGED, seed)
        evaluation_trials = trials.part(rows)
        masks = _masks(evaluation_trials)
        tried = [_held_out(evaluation_trials, v, masks, seed) for v in variants]
        # Earlier variants are simpler: a later one must be clearly better, not luckier.
        best, told, table = tried[0]
        for variant, predicted, scores in tried[1:]:
            if _tau(scores) > _tau(table) + 0.01:
                best, told, table = variant, predicted, scores
        foreseen = np.full(len(trials.score), np.nan)
        foreseen[rows] = told
        ensemble = replace(best.boosted, members=members)
        schema = ensemble.schema(trials)
        if not schema.columns:
            raise HistoryError(
                "every configuration in the history is the same: nothing to learn from."
            )
        models = ensemble.fit(trials, schema, seed)
        several = len(np.unique(trials.dataset)) > 1
        return cls(best, schema, models, RankerSkill.of(table, several), table, foreseen)

    def predict(
        self, configs: list[Config], dataset: Mapping[str, Any] | None, encoder: SpaceEncoder
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and disagreement (standard deviation) of the ensemble, each of shape (n,).

        The scale is that of normal scores; only differences within one dataset mean anything.
        """
        if not configs:
            return np.zeros(0), np.zeros(0)
        frame = pd.concat(
            [encoder.frame(configs), fixed_columns(dataset, META, len(configs))], axis=1
        )
        scores = predictions(self.models, self.schema, frame)
        # Each member has its own arbitrary offset, which is no disagreement.
        return scores.mean(axis=0), (scores - scores.mean(axis=1, keepdims=True)).std(axis=0)

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and one .cbm a member."""
        for i, model in enumerate(self.models):
            save_model(model, folder / f"ranker-{i}.cbm")
        payload = {
            "variant": asdict(self.variant),
            "schema": self.schema.to_dict(),
            "skill": asdict(self.skill),
            "members": len(self.models),
            "held_out": self.held_out.to_dict("records"),
        }
        (folder / "ranker.json").write_text(json.dumps(payload, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Inverse of `save`; predictions are bit-equal."""
        payload = json.loads((folder / "ranker.json").read_text())
        variant = RankerVariant(**payload["variant"])
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


def _masks(trials: Trials) -> list[np.ndarray]:
    """Which rows are held out together: datasets; with a single one, fifths of its trials."""
    several = len(np.unique(trials.dataset)) > 1
    labels = trials.dataset if several else np.arange(len(trials.dataset)) % 5
    return list(folds(labels, MAX_FOLDS))


def _held_out(
    trials: Trials, variant: RankerVariant, masks: list[np.ndarray], seed: int
) -> tuple[RankerVariant, np.ndarray, pd.DataFrame]:
    """The variant, what it foresees, and how well, one row a held-out group."""
    [predicted] = held_out_predictions(trials, variant.boosted, masks, seed)
    return variant, predicted, judged(trials, predicted, masks)


def _tau(table: pd.DataFrame) -> float:
    return float(dataset_means(table)["kendall_tau"].mean())
