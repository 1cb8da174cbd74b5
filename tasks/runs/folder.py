"""The run folder is the truth: everything a run knows, in a form that survives ``kill -9``.

Its files are listed in docs/architecture.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from surrogates.core.base import Only
from tasks.config.settings import Budget, TuneSettings
from trials.io.errors import FileError, RecordError, SettingsError
from trials.io.record_files import problems_of, read_json, read_text, remedy_of
from trials.spec.records import (
    Record,
    SplitScore,
    TrialResult,
    TrialSpec,
    Value,
    read_record,
    write_json,
)

PLAN = "plan.json"
Phase = Literal["explore", "finish"]  # of a search
Origin = Literal["default", "new", "continue", "finalist"]  # of a proposal


class DatasetInfo(Record):
    """The dataset of a run, as it was when the run began."""

    name: str
    path: str
    fingerprint: str
    reward: str
    reward_inferred: bool
    rows: dict[str, int] = Field(description="Rows in each split.")
    warnings: list[str] = Field([], description="Of the check of the rewards.")


class ProxyInfo(Record):
    """A smaller model on which configurations are tried, too."""

    model: str = Field(description="Its short name.")
    path: str = Field(description="What its trials load.")
    parameters: int
    meta: dict[str, float] = Field(description="Meta-features of dataset and model.")


class LevelRecord(Record):
    """What a proxy has done for a run, as the search sees it."""

    model: str
    trials: int
    past: int = Field(0, description="Trials that the history had already, for nothing.")
    cost: float = Field(description="In full-length default trials.")
    correlation: float | None = Field(None, description="With the target's scores, as learned.")
    low: float | None = Field(None, description="Of its 90 % interval.")
    high: float | None = None
    left: str | None = Field(None, description="Why it is not used any more.")
    left_after: int | None = Field(None, description="Trials of the run that had ended by then.")


class HistoryInfo(Record):
    """The history that a run learned from, pinned so that a resumed run sees the same."""

    files: list[str]
    trials: int
    datasets: int
    folder: str | None = Field(None, description="That its trials join; of old runs not known.")
    used: bool | None = Field(
        None,
        description="Whether the search uses it: where time is short the offline models may not be "
        "trained in time. None before the search began.",
    )


class RunInfo(Record):
    """``run.json``."""

    run_id: str
    created: str
    settings: TuneSettings
    dataset: DatasetInfo
    model: str
    model_parameters: int
    space: dict[str, Any] = Field(description="ConfigSpace's own JSON form.")
    meta: dict[str, float] = Field(description="Meta-features of dataset and model.")
    base_validation: SplitScore
    proxies: list[ProxyInfo] = Field([])
    history: HistoryInfo
    versions: dict[str, str]
    git_commit: str | None
    first_budget: Budget | None = Field(
        None, description="That the search began with; None while it is that of the settings."
    )

    @property
    def search_budget(self) -> Budget:
        """The budget that the search assumes, which influences what it proposes."""
        return self.first_budget or self.settings.budget

    @property
    def relative_costs(self) -> dict[str, float]:
        """What a trial on each proxy costs in trials of the target, by what its trials load."""
        return {each.path: each.parameters / self.model_parameters for each in self.proxies}

    def proxy_of(self, spec: TrialSpec) -> str | None:
        """Short name of the proxy that a trial is run on; None: the target."""
        return next((p.model for p in self.proxies if p.path == spec.fidelity.model), None)


class ProposalRecord(Record):
    """One line of ``proposals.jsonl``."""

    order: int
    trial_id: str = Field(pattern=r"^[\w-][\w.-]*$", description="A folder is called so.")
    proposal_id: str
    phase: Phase = "explore"
    origin: Origin
    told: int | None = Field(None, description="Results that the search knew; None: not recorded.")
    only: Only | None = Field(None, description="All that it might be proposed for.")
    search_budget: float | None = Field(None, description="That the search reckoned with.")
    model: str | None = Field(None, description="The proxy that it is run on; None: the target.")
    continues: str | None = Field(None, description="Trial id of the one that is continued.")
    fraction: float
    config: dict[str, Value | None]
    expected_score: float | None = None
    expected_score_sd: float | None = None
    expected_cost: float | None = Field(None, description="In full-length default trials.")
    prior_score: float | None = Field(None, description="The offline prior mean alone.")
    failure_probability: float | None = None


class ModelScores(Record):
    """One of the three compared: the base model, the default and the best configuration."""

    trial_id: str | None
    config: dict[str, Value | None] | None
    validation: float
    validation_se: float
    test: float
    test_se: float
    test_pass_at_k: float | None = Field(None, description="On the test split, when asked for.")


class Summary(Record):
    """``summary.json``: the outcome of a run."""

    best: ModelScores
    default: ModelScores | None
    base: ModelScores
    best_expected: float = Field(description="Posterior mean of the best configuration.")
    best_expected_se: float
    trials: int
    failed: int
    full_length: int
    elapsed_seconds: float = Field(description="Wall clock of the run, resumed parts added up.")
    trial_seconds: float = Field(description="Time inside trials, added up over all of them.")
    full_cost_seconds: float = Field(
        description="Estimate of the trial time had every configuration run at full length."
    )
    paired_gain: float | None = Field(None, description="Best minus default on the same test rows.")
    paired_gain_se: float | None = None
    budget: Budget | None = Field(
        None, description="With which the search came to its end; of old runs not known."
    )


@dataclass(frozen=True)
class Trial:
    """One trial of a run as it is on disk; ``result`` is None while it runs or after a kill."""

    spec: TrialSpec
    result: TrialResult | None

    @property
    def folder(self) -> Path:
        return Path(self.spec.folder)


def final_model(spec: TrialSpec) -> Path:
    """The model or adapter of a trial that ran to its end."""
    return Path(spec.folder) / "checkpoint" / "final"


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run folder."""

    path: Path

    @classmethod
    def open(cls, run: str | Path, root: Path) -> RunFolder:
        """The folder of an existing run, named by its path or by its id under ``root``.

        Raises:
            SettingsError: when there is no such run.
        """
        for path in (Path(run), root / str(run)):
            if (path / "run.json").is_file():
                return cls(path.resolve())
        known = sorted(path.parent.name for path in root.glob("*/run.json"))
        raise SettingsError(
            f"no run {str(run)!r} under {root}; "
            + (f"the last runs are {', '.join(known[-5:])}" if known else "there are no runs yet")
        )

    @property
    def run_id(self) -> str:
        return self.path.name

    def info(self) -> RunInfo:
        return read_record(self.path / "run.json", RunInfo)

    def write_info(self, info: RunInfo) -> None:
        write_json(self.path / "run.json", info)

    def plan_text(self) -> str | None:
        """The text of the run's plan; None if it made none."""
        file = self.path / PLAN
        return str(read_json(file).get("text", "")) or None if file.exists() else None

    def trial_folder(self, trial_id: str) -> Path:
        return self.path / "trials" / trial_id

    def trials(self) -> list[Trial]:
        """All trials that have a spec, in the order of their ids."""
        return [_trial(file) for file in sorted((self.path / "trials").glob("*/spec.json"))]

    def proposals(self) -> list[ProposalRecord]:
        """The search's proposals, in order.

        A last line that a kill cut short is left out: its trial is proposed again.

        Raises:
            RecordError: another line is not a proposal; it is named.
        """
        file = self._proposals_file
        if not file.exists():
            return []
        *lines, cut = read_text(file).split("\n")
        records = [_proposal(line, file, number) for number, line in enumerate(lines, 1)]
        if cut:
            with suppress(RecordError):
                records.append(_proposal(cut, file, len(lines) + 1))
        # A resumed run proposes the same again: the last line of an order counts.
        return list({record.order: record for record in records}.values())

    def add_proposal(self, record: ProposalRecord) -> None:
        """Appends one line.

        Raises:
            FileError: it cannot be written.
        """
        file = self._proposals_file
        try:
            if file.exists():
                _close_last_line(file)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(record.model_dump_json() + "\n")
        except FileError:
            raise
        except OSError as error:
            raise FileError("write", file, error) from error

    @property
    def _proposals_file(self) -> Path:
        return self.path / "proposals.jsonl"

    def observations(self) -> list[dict[str, Any]]:
        """The search's view of every result: observed score, predicted final score and its sd.

        Raises:
            RecordError: the file contains something else.
        """
        file = self.path / "observations.json"
        return read_record(file, _Observations).rows if file.exists() else []

    def write_observations(
        self, rows: list[dict[str, Any]], levels: Sequence[LevelRecord] = ()
    ) -> None:
        write_json(
            self.path / "observations.json",
            {"rows": rows, "levels": [level.model_dump(mode="json") for level in levels]},
        )

    def levels(self) -> list[LevelRecord]:
        """What the proxies have done; empty for a run without any.

        Raises:
            RecordError: the file contains something else.
        """
        file = self.path / "observations.json"
        return read_record(file, _Observations).levels if file.exists() else []

    def summary(self) -> Summary | None:
        file = self.path / "summary.json"
        return read_record(file, Summary) if file.exists() else None

    def write_summary(self, summary: Summary) -> None:
        write_json(self.path / "summary.json", summary)


class _Observations(Record):
    """``observations.json``."""

    rows: list[dict[str, Any]]
    levels: list[LevelRecord] = Field([])


def _trial(spec_file: Path) -> Trial:
    # The run may have been moved since: the trial's folder is where the file is.
    spec = read_record(spec_file, TrialSpec).model_copy(update={"folder": str(spec_file.parent)})
    result = spec_file.with_name("result.json")
    return Trial(spec, read_record(result, TrialResult) if result.exists() else None)


def _proposal(line: str, file: Path, number: int) -> ProposalRecord:
    try:
        return ProposalRecord.model_validate_json(line)
    except ValidationError as error:
        raise RecordError(file, problems_of(error), remedy_of(file), number) from None


def _close_last_line(file: Path) -> None:
    """Cuts off what a killed writer left of its last line, or adds the end of a whole one."""
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return
    try:
        ProposalRecord.model_validate_json(content[whole:])
    except ValidationError:
        os.truncate(file, whole)
    else:
        with file.open("ab") as stream:
            stream.write(b"\n")
