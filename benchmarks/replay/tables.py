"""A dataset of the history as a table to search in.

Every number is from a real trial: its score at each fraction of its schedule, the cost so far, its
signals. Nothing is filled in by a formula.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from surrogates.core.base import Config
from surrogates.history.table import META, SIGNAL
from surrogates.space.encoding import PREFIX, SpaceEncoder
from tasks.history.prefixes import PREFIX_FRACTIONS
from tasks.history.rows import records
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash

FRACTIONS = (*PREFIX_FRACTIONS, 1.0)
MIN_CANDIDATES = 5
TOLERANCE = 1e-9  # of a comparison between fractions
SCORE_SE = 1e-6  # standard error over the range of all scores: 0 would mean that it is unknown


@dataclass(frozen=True)
class Query:
    """Train a candidate up to a fraction of its schedule, from the start or a checkpoint."""

    index: int
    fraction: float = 1.0
    from_fraction: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The answer to a query."""

    score: float | None  # None for a failed trial
    score_se: float
    cost: float  # seconds of this query alone: a continuation pays for its own part
    signals: Mapping[str, float]


@dataclass(frozen=True)
class ReplayTask:
    """n candidates of one dataset and model, known at f fractions; a higher score is better."""

    dataset: str
    model: str
    configs: tuple[Config, ...]
    scores: np.ndarray  # `n x f`; NaN where the trial was not scored, or failed
    costs: np.ndarray  # `n x f` cumulative seconds; NaN where the trial was not scored
    signals: tuple[tuple[dict[str, float], ...], ...]
    meta: dict[str, float]
    fractions: tuple[float, ...] = FRACTIONS

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def final(self) -> np.ndarray:
        """(n,) full-length scores; NaN for failed trials."""
        return self.scores[:, -1]

    @property
    def mean_cost(self) -> float:
        """Mean seconds of a trial run to its end (or to its failure)."""
        return float(self.costs[:, -1].mean())

    def candidates(self) -> pd.DataFrame:
        """One row of `config.*` columns per candidate, as `Search.ask` takes them."""
        names = sorted({name for config in self.configs for name in config})
        rows = [{PREFIX + name: config.get(name) for name in names} for config in self.configs]
        return pd.DataFrame(rows, dtype=object)

    def regrets(self) -> np.ndarray:
        """(n,) normalised regret of each candidate as the final choice.

        (best - score) / (best - worst) over the finished candidates; 1 for a failed one, 0 for all
        others where the finished ones are equal.
        """
        best, worst = np.nanmax(self.final), np.nanmin(self.final)
        scaled = (best - self.final) / (best - worst) if best > worst else 0.0 * self.final
        return np.where(np.isnan(self.final), 1.0, scaled)

    def settle(self, query: Query) -> Query:
        """The query extended to the next fraction at which the trial was scored.

        A failed trial left no scores, so it fails whenever it is run, at its whole cost.
        """
        fractions = np.array(self.fractions)
        later = (fractions >= query.fraction - TOLERANCE) & (
            fractions > query.from_fraction + TOLERANCE
        )
        known = np.flatnonzero(later & np.isfinite(self.scores[query.index]))
        return replace(query, fraction=self.fractions[known[0] if known.size else -1])

    def outcome(self, query: Query) -> Outcome:
        """The answer to a settled query.

        Regret is computed from the very scores that are reported, so they are reported as almost
        exact.
        """
        column = self._column(query.fraction)
        score, cost = self.scores[query.index, column], self.costs[query.index, column]
        if query.from_fraction > 0:
            cost -= self.costs[query.index, self._column(query.from_fraction)]
        if np.isnan(score):
            return Outcome(None, 0.0, float(cost), {})
        spread = float(np.nanmax(self.final) - np.nanmin(self.final))
        signals = self.signals[query.index][column]
        return Outcome(float(score), SCORE_SE * max(spread, 1e-3), float(cost), signals)

    def _column(self, fraction: float) -> int:
        return int(np.argmin(np.abs(np.array(self.fractions) - fraction)))

    def fingerprint(self) -> str:
        """Hash of the whole table."""
        text = json.dumps(asdict(self), default=np.ndarray.tolist, sort_keys=True)
        return content_hash(text)


def datasets_of(rows: pd.DataFrame, model: str) -> list[str]:
    """Datasets on which the model has enough trials to choose among, sorted.

    Raises:
        SettingsError: there are none.
    """
    ends = rows[(rows["model_id"] == model) & (_failed(rows) | (rows["fraction"] >= 1.0))]
    counts = ends.groupby("dataset_id").size()
    found = sorted(counts.index[counts >= MIN_CANDIDATES])
    if not found:
        known = ", ".join(sorted(rows["model_id"].unique()))
        raise SettingsError(f"the history has no dataset to replay for {model!r}; it has {known}")
    return found


def replay_task(rows: pd.DataFrame, dataset: str, model: str, encoder: SpaceEncoder) -> ReplayTask:
    """The table of one dataset and model.

    A repeated configuration is represented by the row of its first seed. Trials whose cost is
    unknown (continuations) are left out, as nothing could be charged for them.

    The rows are those of `tasks.offline.train.past_trials`: trials at full length or failed, and
    their prefixes. The encoder says which configurations are the same.

    Raises:
        SettingsError: there is nothing to choose among.
    """
    own = rows[(rows["dataset_id"] == dataset) & (rows["model_id"] == model)]
    if "seed" in own:
        own = own.sort_values("seed", kind="stable")
    ends = own[(_failed(own) | (own["fraction"] >= 1.0)) & (own["cost_seconds"] > 0)]
    configs = encoder.from_frame(ends)
    first: dict[tuple[Any, ...], int] = {}
    for position, config in enumerate(configs):
        first.setdefault(encoder.key(config), position)
    if len(first) < 2:
        raise SettingsError(f"the history has fewer than two trials of {model} on {dataset}")
    finals = records(ends.iloc[list(first.values())])
    cells = {
        (row["trial_id"], round(float(row["fraction"]), 6)): row
        for row in records(own[~_failed(own)])
    }
    grid = [
        [None] * len(FRACTIONS)  # what it scored before it failed does not count
        if end["state"] == "failed"
        else [*(cells.get((end["trial_id"], fraction)) for fraction in FRACTIONS[:-1]), end]
        for end in finals
    ]
    whole = np.array([[float(end["cost_seconds"])] for end in finals])
    costs = np.hstack([_values(grid, "cost_seconds")[:, :-1], whole])
    return ReplayTask(
        dataset,
        model,
        tuple(configs[position] for position in first.values()),
        _values(grid, "score"),
        # The parts are timed inside the trial: none may seem to cost more than the whole.
        np.fmax.accumulate(np.minimum(costs, whole), axis=1),
        tuple(tuple(_numbers(row or {}, SIGNAL) for row in line) for line in grid),
        {name.removeprefix(META): value for name, value in _numbers(finals[0], META).items()},
    )


def _values(grid: list[list[dict[str, Any] | None]], name: str) -> np.ndarray:
    return np.array(
        [[np.nan if row is None else float(row[name]) for row in line] for line in grid]
    )


def _numbers(row: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if name.startswith(prefix) and value is not None and np.isfinite(value)
    }


def _failed(rows: pd.DataFrame) -> pd.Series:
    return rows["state"] == "failed"
