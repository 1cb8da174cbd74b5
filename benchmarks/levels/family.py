"""The trials of one dataset on models of several sizes, as one table to search in.

The candidates are the configurations that every model was trained with. Costs are FLOPs in units of
the mean trial of the largest model, the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.replay.tables import Outcome, Query, ReplayTask, datasets_of, replay_task
from surrogates.core.base import Config
from surrogates.space.encoding import SpaceEncoder

MODELS = ("tiny-100k", "tiny-1m", "tiny-4m")  # in the order of size, the target last
Variant = Literal["true", "shuffled", "reversed"]


@dataclass(frozen=True)
class Family:
    """n candidates, with one table for each model, the smallest first."""

    dataset: str
    tables: dict[str, ReplayTask]
    noise: dict[str, np.ndarray]
    """(n,) standard errors of the final scores, by model."""

    @property
    def target(self) -> ReplayTask:
        """The table of the largest model."""
        return self.tables[MODELS[-1]]

    @property
    def configs(self) -> tuple[Config, ...]:
        """The candidates."""
        return self.target.configs

    def regrets(self) -> np.ndarray:
        """(n,) what each candidate lacks on the target, in standard deviations of all n."""
        final = self.target.final
        return np.asarray((np.nanmax(final) - final) / np.nanstd(final))

    def relative_costs(self, models: Sequence[str]) -> dict[str, float]:
        """Mean cost of a trial at full length, by model."""
        return {model: self.tables[model].mean_cost for model in models}

    def drawn(self, count: int, seed: int) -> Family:
        """The family with so many of its candidates, the first one (the default) among them.

        With all of them every seed would play nearly the same run: a cheap model is tried with
        each candidate, and single choices decide. Costs are in mean trials of the target again.
        """
        others = np.random.default_rng(seed).permutation(len(self.configs) - 1)[: count - 1] + 1
        kept = np.sort(np.append(0, others))
        unit = float(self.target.costs[kept, -1].mean())
        tables = {model: _part(table, kept, unit) for model, table in self.tables.items()}
        return Family(self.dataset, tables, {m: noise[kept] for m, noise in self.noise.items()})

    def outcome(self, model: str, query: Query) -> tuple[Query, Outcome]:
        """The query up to the next fraction that was scored, and its answer.

        The target's scores are reported as almost exact, since regret is computed from them.
        """
        table = self.tables[model]
        settled = table.settle(query)
        outcome = table.outcome(settled)
        if model != MODELS[-1]:
            outcome = replace(outcome, score_se=float(self.noise[model][query.index]))
        return settled, outcome


def families(rows: pd.DataFrame) -> list[str]:
    """The datasets that have trials of every model, sorted."""
    return sorted(set.intersection(*(set(datasets_of(rows, model)) for model in MODELS)))


def family_of(
    rows: pd.DataFrame, dataset: str, encoder: SpaceEncoder, variant: Variant = "true"
) -> Family:
    """The family of one dataset; in two variants the smaller models mislead on purpose.

    "shuffled": the trials of each smaller model are permuted among the candidates; "reversed":
    each of their scores y is min + max - y of the final ones.

    Raises:
        SettingsError: A model has no trials there.
    """
    rows = rows.assign(cost_seconds=rows["cost_flops"])
    tables = {model: replay_task(rows, dataset, model, encoder) for model in MODELS}
    places = {
        model: {encoder.key(config): i for i, config in enumerate(table.configs)}
        for model, table in tables.items()
    }
    shared = [
        [places[model][key] for model in MODELS]
        for key in places[MODELS[-1]]
        if all(key in places[model] for model in MODELS)
    ]
    unit = tables[MODELS[-1]].mean_cost
    noise = {
        model: _standard_errors(rows, dataset, model, encoder, tables[model])[order]
        for model, order in zip(MODELS, np.array(shared).T, strict=True)
    }
    chosen = {
        model: _part(tables[model], order, unit)
        for model, order in zip(MODELS, np.array(shared).T, strict=True)
    }
    rng = np.random.default_rng(0)
    for model in MODELS[:-1]:
        if variant == "shuffled":
            order = rng.permutation(len(shared))
            moved = _part(chosen[model], order, 1.0)
            chosen[model] = replace(moved, configs=chosen[model].configs)
            noise[model] = noise[model][order]
        elif variant == "reversed":
            final = chosen[model].final
            mirrored = np.nanmin(final) + np.nanmax(final) - chosen[model].scores
            chosen[model] = replace(chosen[model], scores=mirrored)
    return Family(dataset, chosen, noise)


def _part(table: ReplayTask, order: np.ndarray, unit: float) -> ReplayTask:
    return replace(
        table,
        configs=tuple(table.configs[i] for i in order),
        scores=table.scores[order],
        costs=table.costs[order] / unit,
        signals=tuple(table.signals[i] for i in order),
    )


def _standard_errors(
    rows: pd.DataFrame, dataset: str, model: str, encoder: SpaceEncoder, table: ReplayTask
) -> np.ndarray:
    """(n,) of the table's final scores; the mean of all where one is unknown."""
    own = rows[
        (rows["dataset_id"] == dataset) & (rows["model_id"] == model) & (rows["fraction"] >= 1.0)
    ]
    known: dict[tuple[Any, ...], float] = {}
    for config, error in zip(encoder.from_frame(own), own["score_se"], strict=True):
        known.setdefault(encoder.key(config), float(error))
    found = np.array([known.get(encoder.key(config), np.nan) for config in table.configs])
    return np.where(np.isfinite(found), found, np.nanmean(found))
