"""How well do past runs of tiny models, recipes and a proxy order a language model's trials?

Each guide gives every trial of a dataset a value before it is run. Reported is its rank correlation
with the scores, and regret@k: what the best of its k favourites falls short of the best of all, in
standard deviations of the scores; for a random order its expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.core.base import Config
from surrogates.core.metrics import spearman
from surrogates.history.rates import SIZE
from surrogates.history.table import META, read_history
from surrogates.offline.ranker import Ranker
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.rate_rule import STAGES, RateRule

KS = (1, 3)
RANDOM = "random order"
Guide = Callable[[list[Config]], np.ndarray]


@dataclass(frozen=True)
class Trials:
    """Full-length trials of one model on one dataset."""

    dataset: str
    configs: list[Config]
    score: np.ndarray
    """(n,)."""
    score_se: np.ndarray
    meta: Mapping[str, Any]
    """Meta-features without "meta."."""


def trials_of(rows: pd.DataFrame, dataset: str, model: str, encoder: SpaceEncoder) -> Trials:
    """The finished trials of a history; the default configuration is the first."""
    own = rows[
        (rows["dataset_id"] == dataset)
        & (rows["model_id"] == model)
        & (rows["state"] == "completed")
        & (rows["fraction"] >= 1.0)
    ].sort_values("trial_id")
    meta = own.iloc[0].filter(like=META).dropna() if len(own) else pd.Series(dtype=float)
    return Trials(
        dataset,
        encoder.from_frame(own),
        own["score"].to_numpy(float),
        own["score_se"].to_numpy(float),
        {str(name).removeprefix(META): value for name, value in meta.items()},
    )


def learned(past: pd.DataFrame, space: ConfigurationSpace, trials: Trials, relative: bool) -> Guide:
    """The ranker of a history; with rates as they are, or relative to the size of the model."""
    encoder, meta = SpaceEncoder(space), dict(trials.meta)
    if not relative:
        past = past.drop(columns=META + SIZE)
        meta.pop(SIZE, None)
    rows = read_history(past, encoder)
    if rows is None:
        raise ValueError("the history is empty")
    ranker = Ranker.fit(rows, encoder)
    return lambda configs: ranker.predict(configs, meta, encoder)


def recipes(rule: RateRule, parameters: int) -> Guide:
    """The nearer the rates are to the usual ones, in decades and over the stages, the better."""

    def value(config: Config) -> float:
        adapter = config.get("adapter", "full")
        rates = ((stage, config.get(f"{stage}_learning_rate")) for stage in STAGES)
        return -sum(
            abs(np.log10(rate / rule.rate(stage, adapter, parameters)))
            for stage, rate in rates
            if rate is not None
        )

    return lambda configs: np.array([value(config) for config in configs])


def scored(trials: Trials, encoder: SpaceEncoder) -> Guide:
    """The scores of another model's trials; of a configuration without one, their mean."""
    known = {encoder.key(c): y for c, y in zip(trials.configs, trials.score, strict=True)}
    mean = float(trials.score.mean())
    return lambda configs: np.array([known.get(encoder.key(c), mean) for c in configs])


def regret(values: np.ndarray, score: np.ndarray, k: int) -> float:
    """Of the best of the k favourites, in standard deviations of the scores."""
    favourites = np.argsort(-values, kind="stable")[:k]
    return float((score.max() - score[favourites].max()) / score.std())


def random_regret(score: np.ndarray, k: int) -> float:
    """Its expectation over orders: the best of k of n is the i-th lowest in C(i, k - 1) ways."""
    ranked, n = np.sort(score), len(score)
    best = sum(comb(i, k - 1) * ranked[i] for i in range(k - 1, n)) / comb(n, k)
    return float((score.max() - best) / score.std())


def judged(trials: Trials, guides: Mapping[str, Guide]) -> pd.DataFrame:
    """One row per guide, and one for a random order."""
    base = {"dataset": trials.dataset, "trials": len(trials.score)}
    chance = {f"regret@{k}": random_regret(trials.score, k) for k in KS}
    found = [base | {"guide": RANDOM, "spearman": 0.0} | chance]
    for name, guide in guides.items():
        values = guide(trials.configs)
        agreement = spearman(values, trials.score)
        missed = {f"regret@{k}": regret(values, trials.score, k) for k in KS}
        found.append(base | {"guide": name, "spearman": agreement} | missed)
    return pd.DataFrame(found)


def summary(found: pd.DataFrame, guides: Sequence[str]) -> pd.DataFrame:
    """Means over datasets, and standard errors of the rank correlation."""
    columns = ["spearman", *(f"regret@{k}" for k in KS)]
    grouped = found.groupby("guide")
    table = grouped[columns].mean().loc[[RANDOM, *guides]]
    return table.assign(spearman_se=grouped["spearman"].sem(), datasets=grouped.size())
