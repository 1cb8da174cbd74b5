"""The offline opinion: which configurations are good on a dataset nobody has tried yet.

CatBoost over past trials, group = dataset x model, features = configuration and dataset
meta-features. Ranking losses take within-group normal scores of the final score as target, the
pointwise loss within-group standardised scores: no unit or level of one dataset speaks louder than
another's. Sources: AutoPipe (arXiv 2603.18773);
YetiRank (Gulin et al., 2011) and QueryRMSE as implemented in CatBoost (arXiv 1706.09516).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRanker, CatBoostRegressor

from surrogates.base import Config, HistoryError
from surrogates.encoding import SpaceEncoder
from surrogates.features import FeatureSchema, fixed_columns, folds, informative, save_model
from surrogates.history import META, History
from surrogates.metrics import (
    kendall_tau,
    ndcg,
    normal_scores,
    pearson,
    regret_at,
    standard_scores,
)

MAX_FOLDS = 8
MIN_TRIALS = 3  # a dataset with fewer finished trials says nothing about order


@dataclass(frozen=True)
class RankerVariant:
    """One way of training the ranker; which one is used is decided leave-one-dataset-out."""

    loss: str = "QueryRMSE"
    use_meta: bool = False
    trees: int = 150
    depth: int = 4


POINTWISE = "RMSE"
Model: TypeAlias = CatBoostRanker | CatBoostRegressor

VARIANTS = (
    RankerVariant("QueryRMSE", use_meta=False),
    RankerVariant("QueryRMSE", use_meta=True),
    RankerVariant("YetiRank", use_meta=True, trees=100),
)


@dataclass(frozen=True)
class RankerSkill:
    """How well the ranker orders datasets it was not trained on (mean over held-out ones)."""

    kendall_tau: float = 0.0
    pearson: float = 0.0
    """Correlation with the standardised score: the share of its scale the opinion explains."""
    pearson_sd: float = 0.0
    """Spread of that correlation over datasets."""
    pearson_se: float = 0.0
    ndcg5: float = 0.0
    regret1: float = 1.0
    regret3: float = 1.0
    regret5: float = 1.0
    datasets: int = 0
    """Held-out datasets; 0 where trials of one dataset were held out instead."""


@dataclass
class Ranker:
    """Ensemble of CatBoost rankers over bootstrapped groups. Build it with `fit` or `load`."""

    variant: RankerVariant
    schema: FeatureSchema
    models: list[Model]
    skill: RankerSkill
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row a held-out dataset: tau, pearson, ndcg5, regrets (kept for reports)."""

    @classmethod
    def fit(
        cls,
        history: History,
        encoder: SpaceEncoder,
        seed: int = 0,
        members: int = 5,
        variants: tuple[RankerVariant, ...] = VARIANTS,
    ) -> Ranker:
        """Choose a variant by leave-one-dataset-out Kendall tau, then train the ensemble on all.

        Raises:
            HistoryError: No group has two final scores that differ.
        """
        data = _training_rows(history, encoder)
        if not any(str(c).startswith(META) for c in data.features):
            variants = tuple({(v.loss, v.trees, v.depth): v for v in reversed(variants)}.values())
        judged = [(v, _held_out_scores(data, v, seed)) for v in variants]
        # Earlier variants are simpler: a later one must be clearly better, not luckier.
        best, table = judged[0]
        for variant, scores in judged[1:]:
            if scores["kendall_tau"].mean() > table["kendall_tau"].mean() + 0.01:
                best, table = variant, scores
        frame = _select(data.features, best)
        schema = FeatureSchema.infer(frame)
        prepared = schema.prepare(frame)
        models = []
        for member in range(members):
            rows = _bootstrap(data.group, np.random.default_rng([seed, member]))
            models.append(_train(schema, prepared, data, rows, best, seed + member))
        return cls(best, schema, models, _summarise(table, data), table)

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
        pool = self.schema.pool(self.schema.prepare(frame))
        scores = np.stack([m.predict(pool, thread_count=1) for m in self.models])
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
        kind = CatBoostRegressor if variant.loss == POINTWISE else CatBoostRanker
        models = []
        for i in range(payload["members"]):
            models.append(kind().load_model(str(folder / f"ranker-{i}.cbm")))
        return cls(
            variant,
            FeatureSchema.from_dict(payload["schema"]),
            models,
            RankerSkill(**payload["skill"]),
            pd.DataFrame(payload["held_out"]),
        )


@dataclass(frozen=True)
class _Rows:
    features: pd.DataFrame
    target: np.ndarray
    """Normal scores within the group."""
    standardised: np.ndarray
    """(score - mean) / sd within the group."""
    score: np.ndarray
    group: np.ndarray
    dataset: np.ndarray


def _training_rows(history: History, encoder: SpaceEncoder) -> _Rows:
    """Final rows of the groups that have an order, sorted by group as CatBoost demands."""
    target = np.full(len(history), np.nan)
    standardised = target.copy()
    final = history.final
    for name in np.unique(history.group[final]):
        rows = np.flatnonzero(final & (history.group == name))
        if len(rows) >= 2 and np.ptp(history.score[rows]) > 0:
            target[rows] = normal_scores(history.score[rows])
            standardised[rows] = standard_scores(history.score[rows])
    keep = np.flatnonzero(np.isfinite(target))
    if len(keep) == 0:
        raise HistoryError("history has no dataset with two final scores that differ.")
    keep = keep[np.argsort(history.group[keep].astype(str), kind="stable")]
    meta = history.table[history.columns(META)].iloc[keep].reset_index(drop=True)
    configs = encoder.frame([history.configs[i] for i in keep])
    features = informative(pd.concat([configs, meta], axis=1))
    if features.shape[1] == 0:
        raise HistoryError("every configuration in the history is the same: nothing to learn from.")
    return _Rows(
        features,
        target[keep],
        standardised[keep],
        history.score[keep],
        history.group[keep],
        history.dataset[keep],
    )


def _select(features: pd.DataFrame, variant: RankerVariant) -> pd.DataFrame:
    keep = [c for c in features if variant.use_meta or not str(c).startswith(META)]
    return features[keep] if keep else features


def _bootstrap(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of groups drawn with replacement; of rows, where there is one group."""
    names = np.unique(group.astype(str))
    if len(names) == 1:
        return np.sort(rng.choice(len(group), size=max(2, int(0.8 * len(group))), replace=False))
    drawn = rng.choice(names, size=len(names), replace=True)
    return np.concatenate([np.flatnonzero(group == name) for name in np.sort(drawn)])


def _train(
    schema: FeatureSchema,
    prepared: pd.DataFrame,
    data: _Rows,
    rows: np.ndarray,
    variant: RankerVariant,
    seed: int,
) -> Model:
    """One model on the rows; a group drawn twice counts as one group of double size."""
    kind = CatBoostRegressor if variant.loss == POINTWISE else CatBoostRanker
    model = kind(
        loss_function=variant.loss,
        iterations=variant.trees,
        depth=variant.depth,
        learning_rate=0.08,
        l2_leaf_reg=5.0,
        border_count=64,
        random_seed=seed,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
    )
    if variant.loss == POINTWISE:
        return model.fit(schema.pool(prepared.iloc[rows], label=data.standardised[rows]))
    codes = np.unique(data.group.astype(str), return_inverse=True)[1]
    target = data.target[rows]
    if variant.loss != "QueryRMSE":  # ranking losses take relevances in [0, 1]
        target = (target - target.min()) / max(float(np.ptp(target)), 1e-12)
    pool = schema.pool(prepared.iloc[rows], label=target, group_id=codes[rows])
    return model.fit(pool)


def _held_out_scores(data: _Rows, variant: RankerVariant, seed: int) -> pd.DataFrame:
    """One row a held-out dataset. With a single dataset, five-fold over its trials."""
    frame = _select(data.features, variant)
    schema = FeatureSchema.infer(frame)
    prepared = schema.prepare(frame)
    several = len(np.unique(data.dataset.astype(str))) > 1
    labels = data.dataset if several else np.arange(len(data.target)) % 5
    records = []
    for test in folds(labels, MAX_FOLDS):
        train = np.flatnonzero(~test)
        if len(train) < 2:
            continue
        try:
            model = _train(schema, prepared, data, train, variant, seed)
        except CatBoostError:  # e.g. every feature constant in what is left
            continue
        predicted = np.full(len(data.target), np.nan)
        predicted[test] = model.predict(schema.pool(prepared[test]), thread_count=1)
        for group in np.unique(data.group[test].astype(str)):
            records += _judge(predicted, data, test & (data.group == group), group)
    return pd.DataFrame(records, columns=_JUDGED)


_JUDGED = [
    "group", "trials", "kendall_tau", "pearson", "ndcg5", "regret1", "regret3", "regret5"
]  # fmt: skip


def _judge(
    predicted: np.ndarray, data: _Rows, rows: np.ndarray, group: str
) -> list[dict[str, Any]]:
    if rows.sum() < MIN_TRIALS:
        return []
    x, y = predicted[rows], data.score[rows]
    return [
        {
            "group": group,
            "trials": int(rows.sum()),
            "kendall_tau": kendall_tau(x, y),
            "pearson": pearson(x, data.target[rows]),
            "ndcg5": ndcg(x, y, 5),
            "regret1": regret_at(x, y, 1),
            "regret3": regret_at(x, y, 3),
            "regret5": regret_at(x, y, 5),
        }
    ]


def _summarise(table: pd.DataFrame, data: _Rows) -> RankerSkill:
    if table.empty:
        return RankerSkill()
    means = table[["kendall_tau", "pearson", "ndcg5", "regret1", "regret3", "regret5"]].mean()
    spread = float(table["pearson"].std(ddof=1)) if len(table) > 1 else 0.3
    several = len(np.unique(data.dataset.astype(str))) > 1
    return RankerSkill(
        pearson_sd=spread,
        pearson_se=spread / float(np.sqrt(len(table))),
        datasets=len(np.unique(data.dataset.astype(str))) if several else 0,
        **{str(k): float(v) for k, v in means.items()},
    )
