"""The promoted model of a dataset: the best winner so far, replaced only by one that beats it.

``<workspace>/promoted/<dataset>--<model>/`` holds the winner's export, its weights as a trial
leaves them, and ``promotion.json``, which says where they come from and what they beat.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from tasks.featurize import probe
from tasks.lock import promotion_lock
from tasks.names import slug
from tasks.paths import workspace
from tasks.run_folder import RunFolder, RunInfo, Trial
from tasks.search_loop import final_model
from trials.compare import PairedDifference, paired_difference
from trials.errors import SettingsError
from trials.launch import Launcher
from trials.records import ProbeRequest, Record, Value, read_record, write_json

LEVEL = 0.05  # two-sided: of equally good challengers one in forty is promoted
WEIGHTS, EXPORT, NOTE = "weights", "best", "promotion.json"


class Promotion(Record):
    """``promotion.json``."""

    run_id: str
    trial_id: str
    config: dict[str, Value | None]
    dataset_fingerprint: str
    validation: float
    rows: int
    beaten: str | None = Field(None, description="Run id of the one before; None for the base.")
    gain: float = Field(description="On the same validation rows.")
    gain_se: float
    p_value: float = Field(description="Two-sided, of no difference.")
    promoted: str


class Decision(Record):
    """What came of comparing a challenger with the incumbent."""

    promoted: bool
    against: str
    gain: float
    gain_se: float
    p_value: float
    rows: int

    def __str__(self) -> str:
        verdict = "promoted" if self.promoted else "not promoted"
        return (
            f"{verdict}: {self.gain:+.3f} ± {self.gain_se:.3f} against {self.against} on the same "
            f"{self.rows} validation rows (p = {self.p_value:.3f})"
        )


def promoted_folder(dataset: str, model: str) -> Path:
    """Where the promoted model of a dataset and a base model lies."""
    return workspace() / "promoted" / f"{slug(dataset)}--{slug(Path(model).name)}"


def incumbent_of(folder: Path) -> Promotion | None:
    """The promoted one; None before there is any."""
    if not folder.exists() and previous_of(folder).exists():  # a kill came between two renames
        previous_of(folder).rename(folder)
    note = folder / NOTE
    return read_record(note, Promotion) if note.exists() else None


@task(cache_policy=NO_CACHE)
def challenge(run: RunFolder, rows: int, launcher: Launcher) -> Decision:
    """Compares a run's winner with the incumbent, else with the base model; promotes a better one.

    Args:
        run: finished.
        rows: validation rows, all if there are fewer.
        launcher: of the one process that measures both.

    Raises:
        SettingsError: the run is not finished, or its winner's weights were removed.
    """
    info, summary = run.info(), run.summary()
    if summary is None or summary.best.trial_id is None:
        raise SettingsError(
            f"run {run.run_id} has no winner yet\n  go on with: autopipe tune --resume {run.run_id}"
        )
    [winner] = [t for t in run.trials() if t.spec.trial_id == summary.best.trial_id]
    weights = final_model(winner.spec)
    if not weights.exists():
        raise SettingsError(f"the winner's weights are gone: no {weights}")
    folder = promoted_folder(info.dataset.name, info.model)
    with promotion_lock(folder):
        return _challenge(run, winner, weights, folder, rows, launcher)


def _challenge(
    run: RunFolder, winner: Trial, weights: Path, folder: Path, rows: int, launcher: Launcher
) -> Decision:
    info, before = run.info(), incumbent_of(folder)
    base = winner.spec.fidelity.model
    models = {"challenger": str(weights), "incumbent": str(folder / WEIGHTS) if before else base}
    answer = probe(
        ProbeRequest(
            dataset=info.dataset.path,
            models=models,
            tokenizer=base,
            split="validation",
            rows=rows,
            schedule=winner.spec.schedule,
            compute=info.settings.compute,
            allow_user_code=info.settings.allow_user_code,
        ),
        run.path / "promotion",
        launcher,
    )
    outcomes = {name: score.outcomes for name, score in answer.scores.items()}
    found = paired_difference(outcomes["challenger"], outcomes["incumbent"])
    against = f"the incumbent, of run {before.run_id}" if before else "the base model"
    decision = Decision(
        promoted=found.mean > 0 and found.p_value < LEVEL,
        against=against,
        gain=found.mean,
        gain_se=found.se,
        p_value=found.p_value,
        rows=found.rows,
    )
    if decision.promoted:
        validation = answer.scores["challenger"].score
        note = _note(run, info, winner.spec.trial_id, winner.spec.config, before, found, validation)
        install(folder, note, weights, run.path / "best")
    return decision


def previous_of(folder: Path) -> Path:
    """Where the one before the promoted one lies."""
    return folder.with_name(f"{folder.name}.previous")


def install(folder: Path, note: Promotion, weights: Path, export: Path) -> None:
    """Puts a winner in its place: whole, or not at all; the one before stays beside it."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(weights, draft / WEIGHTS)
    if export.is_dir():
        shutil.copytree(export, draft / EXPORT)
    write_json(draft / NOTE, note)
    previous = previous_of(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    draft.rename(folder)


def _note(
    run: RunFolder,
    info: RunInfo,
    trial_id: str,
    config: dict[str, Any],
    before: Promotion | None,
    found: PairedDifference,
    validation: float,
) -> Promotion:
    return Promotion(
        run_id=run.run_id,
        trial_id=trial_id,
        config=config,
        dataset_fingerprint=info.dataset.fingerprint,
        validation=validation,
        rows=found.rows,
        beaten=before.run_id if before else None,
        gain=found.mean,
        gain_se=found.se,
        p_value=found.p_value,
        promoted=datetime.now(UTC).isoformat(timespec="seconds"),
    )
