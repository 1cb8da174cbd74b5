"""A dataset of the history as a table to search in.

Every number is of a real trial: its score at each fraction of its schedule, what it had cost by
then, its signals. Nothing is filled in by a formula.
"""

from __future__ import annotations

import json
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
LEAST_CANDIDATES = 5
TIE = 1e-9
EXACT = 1e-6  # standard error of a score, over the range of all: 0 would mean that it is unknown


@dataclass(frozen=True)
class Move:
    """Run a candidate up to a fraction of its schedule, afresh or on from where it was stopped."""

    index: int
    fraction: float = 1.0
    from_fraction: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a move gave."""

    score: float | None
    """None where the trial failed."""
    score_se: float
    cost: float
    """Seconds of this move alone: a continuation pays for its own part."""
    signals: dict[str, float]


@dataclass(frozen=True)
class ReplayTask:
    """n candidates of one dataset and model, known at f fractions; more score is better."""

    dataset: str
    model: str
    configs: tuple[Config, ...]
    scores: np.ndarray
    """`n x f`; NaN where the trial was not scored, or failed."""
    costs: np.ndarray
    """`n x f` seconds spent by then; NaN where the trial was not scored."""
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
        """One `config.*` row a candidate, as `Search.ask` takes them."""
        names = sorted({name for config in self.configs for name in config})
        rows = [{PREFIX + name: config.get(name) for name in names} for config in self.configs]
        return pd.DataFrame(rows, dtype=object)

    def regrets(self) -> np.ndarray:
        """(n,) normalised regret of ending with each candidate.

        (best - score) / (best - worst) over the finished candidates; 1 for a failed one, 0 for all
        others where the finished ones are equal.
        """
        best, worst = np.nanmax(self.final), np.nanmin(self.final)
        scaled = (best - self.final) / (best - worst) if best > worst else 0.0 * self.final
        return np.where(np.isnan(self.final), 1.0, scaled)

    def settled(self, move: Move) -> Move:
        """The move up to the first fraction from the asked one on at which the trial was scored.

        A trial that failed left no scores, so it fails whenever it is run, at its whole cost.
        """
        last = len(self.fractions) - 1
        known = [
            column
            for column, fraction in enumerate(self.fractions)
            if fraction >= move.fraction - TIE
            and fraction > move.from_fraction + TIE
            and np.isfinite(self.scores[move.index, column])
        ]
        return replace(move, fraction=self.fractions[known[0] if known else last])

    def outcome(self, move: Move) -> Outcome:
        """What a settled move gives.

        Regret is counted in the very scores that are told, so they are told as almost exact.
        """
        column = self._column(move.fraction)
        cost = float(self.costs[move.index, column])
        if move.from_fraction > 0:
            cost -= float(self.costs[move.index, self._column(move.from_fraction)])
        score = float(self.scores[move.index, column])
        if np.isnan(score):
            return Outcome(None, 0.0, cost, {})
        signals = self.signals[move.index][column]
        return Outcome(
            score,
            EXACT * max(float(np.ptp(self.final[~np.isnan(self.final)])), 1e-3),
            cost,
            signals,
        )

    def _column(self, fraction: float) -> int:
        return int(np.argmin(np.abs(np.array(self.fractions) - fraction)))

    def fingerprint(self) -> str:
        """Hash of everything in the table."""
        text = json.dumps(asdict(self), default=np.ndarray.tolist, sort_keys=True)
        return content_hash(text)


def datasets_of(rows: pd.DataFrame, model: str) -> list[str]:
    """Datasets on which the model has trials enough to choose among, sorted.

    Raises:
        SettingsError: there are none.
    """
    ends = rows[(rows["model_id"] == model) & (_failed(rows) | (rows["fraction"] >= 1.0))]
    counts = ends.groupby("dataset_id").size()
    found = sorted(counts.index[counts >= LEAST_CANDIDATES])
    if not found:
        known = ", ".join(sorted(rows["model_id"].unique()))
        raise SettingsError(f"the history has no dataset to replay for {model!r}; it has {known}")
    return found


def replay_task(rows: pd.DataFrame, dataset: str, model: str, encoder: SpaceEncoder) -> ReplayTask:
    """The table of one dataset and model.

    A configuration that was repeated counts by the row of its first seed. Trials whose cost is not
    known (continuations) are left out, as nothing could be charged for them.

    Args:
        rows: of `tasks.offline.train.past_trials`: trials at full length or failed, and their
            prefixes.
        dataset: its `dataset_id`.
        model: its `model_id`.
        encoder: of the space; it says which configurations are the same.

    Raises:
        SettingsError: there is nothing to choose among.
    """
    mine = rows[(rows["dataset_id"] == dataset) & (rows["model_id"] == model)]
    if "seed" in mine:
        mine = mine.sort_values("seed", kind="stable")
    ends = mine[(_failed(mine) | (mine["fraction"] >= 1.0)) & (mine["cost_seconds"] > 0)]
    configs = encoder.from_frame(ends)
    first: dict[tuple[Any, ...], int] = {}
    for position, config in enumerate(configs):
        first.setdefault(encoder.key(config), position)
    if len(first) < 2:
        raise SettingsError(f"the history has fewer than two trials of {model} on {dataset}")
    ends, configs = ends.iloc[list(first.values())], [configs[i] for i in first.values()]
    cells: dict[tuple[str, float], dict[str, Any]] = {}
    for row in records(mine[~_failed(mine)]):
        cells[row["trial_id"], round(float(row["fraction"]), 6)] = row
    lines = [_line(end, cells) for end in records(ends)]
    meta = {c.removeprefix(META): v for c, v in _numbers(records(ends)[0], META).items()}
    return ReplayTask(
        dataset,
        model,
        tuple(configs),
        np.array([scores for scores, _, _ in lines]),
        np.array([costs for _, costs, _ in lines]),
        tuple(signals for _, _, signals in lines),
        meta,
    )


def _line(
    end: dict[str, Any], cells: dict[tuple[str, float], dict[str, Any]]
) -> tuple[list[float], np.ndarray, tuple[dict[str, float], ...]]:
    """Scores, costs so far and signals of one trial, at every fraction."""
    whole = float(end["cost_seconds"])
    if end["state"] == "failed":
        unknown = [np.nan] * (len(FRACTIONS) - 1)
        return [*unknown, np.nan], np.array([*unknown, whole]), ({},) * len(FRACTIONS)
    row_of = [cells.get((end["trial_id"], fraction)) for fraction in FRACTIONS[:-1]]
    scores = [float(row["score"]) if row else np.nan for row in row_of]
    costs = np.array([float(row["cost_seconds"]) if row else np.nan for row in row_of])
    # The clock of the parts is read inside the trial; no part may seem to cost more than the whole.
    costs = np.fmax.accumulate(np.minimum(np.append(costs, whole), whole))
    signals = [_numbers(row, SIGNAL) if row else {} for row in (*row_of, end)]
    return [*scores, float(end["score"])], costs, tuple(signals)


def _numbers(row: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if name.startswith(prefix) and value is not None and np.isfinite(value)
    }


def _failed(rows: pd.DataFrame) -> pd.Series:
    return rows["state"] == "failed"
