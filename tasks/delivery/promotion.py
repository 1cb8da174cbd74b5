"""The promoted model of a dataset: the best winner so far, replaced only by a better one.

``<workspace>/promoted/<dataset>--<model>/`` holds the winner's export, its weights as a trial
leaves them, and ``promotion.json``, which says where they come from and what they beat.
"""

from __future__ import annotations

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.config.names import slug
from tasks.config.paths import workspace
from tasks.config.steps import step
from tasks.inputs.featurize import probe
from tasks.runs.folder import RunFolder, RunInfo, Trial, final_model
from tasks.runs.formatting import p_text
from tasks.sync.lock import promotion_lock
from trials.data.dataset import fingerprint
from trials.data.subsets import rows_outside_subsets
from trials.evaluation.compare import paired_difference
from trials.io.atomic import new_folder
from trials.io.errors import SettingsError
from trials.process.supervisor import Supervisor
from trials.spec.records import ProbeRequest, Record, Value, read_record, write_json

# With fewer rows, a comparison has next to no power.
MIN_ROWS = 50
SIGNIFICANCE_LEVEL = 0.05  # two-sided: one in forty equally good challengers is promoted
WEIGHTS, EXPORT, PROMOTION_FILE = "weights", "best", "promotion.json"


class PairedGain(Record):
    """A model measured against another on the same rows, on which neither was chosen."""

    gain: float = Field(description="Difference of the mean scores.")
    gain_se: float
    p_value: float = Field(description="Two-sided, of no difference.")
    rows: int
    split: Literal["validation", "test"] = "validation"


class Promotion(PairedGain):
    """``promotion.json``."""

    run_id: str
    trial_id: str
    config: dict[str, Value | None]
    dataset_fingerprint: str
    validation: float
    eval_rows: int | None = Field(None, description="Validation rows that it was chosen on.")
    beaten: str | None = Field(None, description="Run id of its predecessor; None for the base.")
    promoted: str


class Decision(PairedGain):
    """Outcome of comparing a challenger with the incumbent."""

    promoted: bool
    against: str
    data_changed: bool = Field(False, description="Since the incumbent was trained.")

    def __str__(self) -> str:
        verdict = "promoted" if self.promoted else "not promoted"
        rows = f"{self.rows} {self.split} rows, on which neither was chosen"
        text = (
            f"{verdict}: {self.gain:+.3f} ± {self.gain_se:.3f} against {self.against} on the same "
            f"{rows} ({p_text(self.p_value)})"
        )
        if self.data_changed:
            text += "; the data changed since, so it may have been trained on some of these rows"
        return text


def promoted_folder(dataset: str, model: str) -> Path:
    """Folder of the promoted model of a dataset and a base model."""
    return workspace() / "promoted" / f"{slug(dataset)}--{slug(Path(model).name)}"


def read_incumbent(folder: Path) -> Promotion | None:
    """The promotion in force; None before the first one."""
    if not folder.exists() and previous_folder(folder).exists():  # killed between two renames
        previous_folder(folder).rename(folder)
    note = folder / PROMOTION_FILE
    return read_record(note, Promotion) if note.exists() else None


@step
def challenge(run: RunFolder, rows: int, measurer: Supervisor) -> Decision:
    """Compares a run's winner with the incumbent, else with the base model; promotes a better one.

    On so many rows at most: validation rows that no trial was scored on, or test rows where too
    few of those are left.

    Raises:
        SettingsError: the run is not finished, its winner's weights were removed, or its data
            changed.
    """
    info, summary = run.info(), run.summary()
    if summary is None or summary.best.trial_id is None:
        raise SettingsError(
            f"run {run.run_id} has no winner yet\n"
            f"  resume with: autopipe tune --resume {run.run_id}"
        )
    [winner] = [t for t in run.trials() if t.spec.trial_id == summary.best.trial_id]
    weights = final_model(winner.spec)
    if not weights.exists():
        raise SettingsError(f"the winner's weights are gone: no {weights}")
    _check_data(info)
    folder = promoted_folder(info.dataset.name, info.model)
    with promotion_lock(folder):
        return _challenge(run, winner, weights, folder, rows, measurer)


def _check_data(info: RunInfo) -> None:
    found = fingerprint(info.dataset.path)
    if found != info.dataset.fingerprint:
        raise SettingsError(
            f"{info.dataset.path} changed since run {info.run_id} (fingerprint {found}, was "
            f"{info.dataset.fingerprint}): its winner may have been trained on rows that it would "
            f"be measured on\n  restore the data, or tune again: autopipe tune {info.dataset.path}"
        )


def _rows_to_compare_on(
    info: RunInfo, eval_rows: tuple[int, ...]
) -> tuple[Literal["validation", "test"], tuple[int, ...]]:
    """The split to compare on, and the fixed subsets of it to leave out.

    The best of many on some rows looks better on them than it is (the winner's curse), so those
    rows cannot show that it beats another.
    """
    count = info.dataset.rows["validation"]
    unseen = len(rows_outside_subsets(range(count), eval_rows))
    return ("validation", eval_rows) if unseen >= MIN_ROWS else ("test", ())


def _challenge(
    run: RunFolder, winner: Trial, weights: Path, folder: Path, rows: int, measurer: Supervisor
) -> Decision:
    info, before = run.info(), read_incumbent(folder)
    base = winner.spec.fidelity.model
    chosen_on = {winner.spec.schedule.eval_rows, (before and before.eval_rows) or 0} - {0}
    split, beyond = _rows_to_compare_on(info, tuple(sorted(chosen_on)))
    models = {"challenger": str(weights), "incumbent": str(folder / WEIGHTS) if before else base}
    answer = probe(
        ProbeRequest(
            dataset=info.dataset.path,
            models=models,
            tokenizer=base,
            split=split,
            rows=rows,
            beyond=beyond,
            schedule=winner.spec.schedule,
            compute=info.settings.compute,
            allow_user_code=info.settings.allow_user_code,
        ),
        run.path / "promotion",
        measurer,
    )
    outcomes = {name: score.outcomes for name, score in answer.scores.items()}
    found = paired_difference(outcomes["challenger"], outcomes["incumbent"])
    measured = PairedGain(
        gain=found.mean, gain_se=found.se, p_value=found.p_value, rows=found.rows, split=split
    ).model_dump()
    decision = Decision(
        **measured,
        promoted=found.mean > 0 and found.p_value < SIGNIFICANCE_LEVEL,
        against=f"the incumbent, of run {before.run_id}" if before else "the base model",
        data_changed=before is not None and before.dataset_fingerprint != info.dataset.fingerprint,
    )
    if decision.promoted:
        score = winner.result.score if winner.result else None
        promotion = Promotion(
            **measured,
            run_id=run.run_id,
            trial_id=winner.spec.trial_id,
            config=winner.spec.config,
            dataset_fingerprint=info.dataset.fingerprint,
            validation=math.nan if score is None else score,
            eval_rows=winner.spec.schedule.eval_rows,
            beaten=before.run_id if before else None,
            promoted=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        install(folder, promotion, weights, run.path / "best")
    return decision


def previous_folder(folder: Path) -> Path:
    """Folder of the predecessor of the promoted model."""
    return folder.with_name(f"{folder.name}.previous")


def install(folder: Path, promotion: Promotion, weights: Path, export: Path) -> None:
    """Puts a winner in place, whole or not at all; its predecessor stays beside it."""
    with new_folder(folder) as draft:
        shutil.copytree(weights, draft / WEIGHTS)
        if export.is_dir():
            shutil.copytree(export, draft / EXPORT)
        write_json(draft / PROMOTION_FILE, promotion)
        previous = previous_folder(folder)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
