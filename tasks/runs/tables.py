"""A run folder as two tables, trials and curve points, from which report and console are made."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.runs.folder import LevelRecord, ProposalRecord, RunFolder, RunInfo, Summary, Trial
from tasks.runs.formatting import format_duration, percent, plus_minus
from tasks.runs.spending import Spending
from trials.spec.events import curve, read_events
from trials.spec.kinds import TrialState
from trials.spec.records import CurvePoint, Value

UNFINISHED = "unfinished"
TRIAL_COLUMNS = (
    "trial_id", "label", "origin", "model", "continues", "begun_by", "asked", "fraction", "state",
    "reason", "score", "score_se", "predicted", "predicted_sd", "prior", "seconds",
    "cumulative_seconds", "full_length", "final", "final_se", "config",
)  # fmt: skip
NUMERIC = ["score", "score_se", "predicted", "predicted_sd", "prior", "final", "final_se"]
CURVE_COLUMNS = ("trial_id", "stage", "step", "metric", "value")


@dataclass(frozen=True)
class RunTables:
    """Everything in a run folder that people look at.

    Attributes:
        trials: one row per trial, in the order of the proposals; columns ``TRIAL_COLUMNS``.
            ``label`` is the id, shortened where that is still unique. ``continues`` is empty where
            a trial began afresh; ``model`` is that of a proxy, else empty; ``begun_by`` names the
            trial whose first stages it shares. ``final`` is the target's score at full length
            where the trial got there, else the predicted final score, else the last score; of a
            proxy's trial it is not known. ``config`` holds dicts; unknown numbers are NaN.
    """

    info: RunInfo
    summary: Summary | None
    trials: pd.DataFrame
    curves: pd.DataFrame  # one row per curve point; columns CURVE_COLUMNS
    records: list[Trial]  # as they lie on disk, in the order of the proposals
    proposals: list[ProposalRecord]
    plan: str | None = None
    proxies: Sequence[LevelRecord] = ()
    so_far: str | None = None  # of its budget an unfinished run has spent, as ``2 of 6 trials``

    @classmethod
    def read(cls, run: RunFolder) -> RunTables:
        proposals = {p.trial_id: p for p in sorted(run.proposals(), key=lambda p: p.order)}
        position = {trial_id: place for place, trial_id in enumerate(proposals)}
        records = sorted(run.trials(), key=lambda t: position.get(t.spec.trial_id, len(position)))
        info, summary = run.info(), run.summary()
        return cls(
            info,
            summary,
            trial_table(records, proposals, run.observations()),
            curve_table(records),
            records,
            list(proposals.values()),
            run.plan_text(),
            run.levels(),
            Spending.of(run).part(info.settings.budget) if summary is None else None,
        )

    @property
    def labels(self) -> dict[str, str]:
        """Label of each trial id."""
        return dict(zip(self.trials.trial_id, self.trials.label, strict=True))

    @property
    def proxied(self) -> bool:
        """True if any trial ran on a proxy."""
        return bool((self.trials.model != "").any())

    @property
    def default_config(self) -> dict[str, Value | None] | None:
        """The default configuration, if it was measured or tried."""
        if self.summary and self.summary.default and self.summary.default.config is not None:
            return self.summary.default.config
        tried: list[dict[str, Value | None]]
        tried = list(self.trials.config[self.trials.origin == "default"])
        return tried[0] if tried else None

    @property
    def best_row(self) -> pd.Series | None:
        """The trial of the best configuration; before the summary, the best so far."""
        trials = self.trials
        if self.summary is not None:
            found = trials[trials.trial_id == self.summary.best.trial_id]
            return found.iloc[0] if len(found) else None
        scored = trials[trials.score.notna() & (trials.model == "")]
        full = scored[scored.full_length]
        pool = full if len(full) else scored
        return pool.iloc[int(pool.final.argmax())] if len(pool) else None

    @property
    def varied(self) -> list[str]:
        """Hyperparameters that differ between the target's trials, in the order of the space."""
        known = [str(entry["name"]) for entry in self.info.space.get("hyperparameters", [])]
        configs = list(self.trials.config[self.trials.model == ""])
        seen = {name for config in configs for name in config}
        names = [name for name in known if name in seen] + sorted(seen - set(known))
        return [
            name for name in names if len({json.dumps(config.get(name)) for config in configs}) > 1
        ]


def iter_rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples; pandas' own type does not know their fields."""
    yield from table.itertuples()


def trial_table(
    records: list[Trial],
    proposals: dict[str, ProposalRecord],
    observations: Iterable[dict[str, Any]],
) -> pd.DataFrame:
    """The trials of a run, one row per trial; see ``RunTables``.

    Observations have a ``trial_id`` and, where they are known, ``predicted`` and ``predicted_sd``
    (of the score at full length) and ``prior_score``, all as the search sees them now. These priors
    are preferred to those of the proposals, whose scale was still being learned.
    """
    seen = {row["trial_id"]: row for row in observations if "trial_id" in row}
    rows = [
        _trial_row(trial, proposals.get(trial.spec.trial_id), seen.get(trial.spec.trial_id, {}))
        for trial in records
    ]
    table = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    table["label"] = _labels([trial.spec.trial_id for trial in records])
    table["cumulative_seconds"] = table["seconds"].astype(float).fillna(0.0).cumsum()
    table["full_length"] = table["full_length"].astype(bool)
    table[NUMERIC] = table[NUMERIC].astype(float)
    return table


def curve_table(records: list[Trial]) -> pd.DataFrame:
    """The curves of a run, one row per point; of unfinished trials from their events so far."""
    rows = [
        (trial.spec.trial_id, point.stage, point.step, point.metric, point.value)
        for trial in records
        for point in _curve(trial)
        if math.isfinite(point.value)
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def _labels(ids: list[str]) -> list[str]:
    """The part of the ids before the first dash, if that still tells them apart."""
    short = [name.partition("-")[0] for name in ids]
    return short if len(set(short)) == len(short) and all(short) else ids


def _curve(trial: Trial) -> list[CurvePoint]:
    if trial.result is not None and trial.result.curve:
        return trial.result.curve
    return curve(read_events(trial.folder / "events.jsonl"))


def _trial_row(
    trial: Trial, proposal: ProposalRecord | None, observation: dict[str, Any]
) -> dict[str, Any]:
    """One row of the table, without the columns that depend on the other rows."""
    spec, result = trial.spec, trial.result
    # A trial that shares another one's SFT stage does not continue that one.
    continues = (proposal.continues if proposal else spec.inherits_from) or ""
    row: dict[str, Any] = {
        "trial_id": spec.trial_id,
        "origin": proposal.origin if proposal else "unknown",
        "model": (proposal.model if proposal else None) or "",
        "continues": continues,
        "begun_by": "" if continues else spec.inherits_from or "",
        "asked": spec.fidelity.fraction,
        "fraction": result.fraction if result else math.nan,
        "state": result.state.value if result else UNFINISHED,
        "reason": _reason(trial),
        "score": or_nan(result.score if result else None),
        "score_se": or_nan(result.score_se if result else None),
        "predicted": or_nan(observation.get("predicted")),
        "predicted_sd": or_nan(observation.get("predicted_sd")),
        "prior": or_nan(observation.get("prior_score")),
        "seconds": result.cost.seconds if result else math.nan,
        "full_length": bool(
            result and result.state == TrialState.COMPLETED and result.fraction >= 1
        )
        and not (proposal and proposal.model),
        "config": spec.config,
    }
    if math.isnan(row["prior"]) and proposal:
        row["prior"] = or_nan(proposal.prior_score)
    # A prediction for a trial without a score is no observation.
    measured = row["full_length"] or math.isnan(row["predicted"]) or math.isnan(row["score"])
    row["final"] = row["score"] if measured else row["predicted"]
    row["final_se"] = row["score_se"] if measured else row["predicted_sd"]
    if row["model"]:  # neither its score nor what that says of the target is one of the target's
        row["final"] = row["final_se"] = math.nan
    return row


def _reason(trial: Trial) -> str:
    result = trial.result
    if result is None:
        return "no result yet"
    if result.failure is not None:
        return result.failure.kind.value
    return f"{result.stop.rule} at step {result.stop.step}" if result.stop else ""


def or_nan(value: float | None) -> float:
    """The number, NaN where it is not known."""
    return math.nan if value is None else float(value)


def cell_texts(row: Any, labels: Mapping[str, str]) -> dict[str, str]:
    """A trial as the cells of a table for people, by column."""
    return {
        "trial": row.label,
        "origin": " ".join(origin_parts(row, labels)),
        "length": percent(row.fraction),
        "state": f"{row.state}: {row.reason}" if row.reason else row.state,
        "score": plus_minus(row.score, row.score_se),
        "predicted final": plus_minus(row.predicted, row.predicted_sd),
        "time": format_duration(row.seconds),
    }


def origin_parts(row: Any, labels: Mapping[str, str]) -> list[str]:
    """The reason for a trial, and the trial that it continues, if any: in one or two parts."""
    parts = [f"{row.origin} on {row.model}" if row.model else row.origin]
    if row.continues:
        parts.append(f"of {labels.get(row.continues, row.continues)}")
    if row.begun_by:
        parts.append(f"begun by {labels.get(row.begun_by, row.begun_by)}")
    return parts
