"""Changes since the last run of a schedule: of the dataset, of the history, of the settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.config.names import own_slug
from tasks.config.paths import cache_folder, workspace
from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.history.rows import history_files
from tasks.inputs.catalog import resolve_dataset
from trials.data.dataset import load_dataset
from trials.io.hashing import content_hash, file_hash
from trials.spec.records import Record, read_record, write_json


class Snapshot(Record):
    """The inputs of a recurring run, in ``<workspace>/recurring/<name>.json``."""

    dataset: str = Field(description="Fingerprint of the dataset.")
    history: str = Field(description="Hash of the history that others wrote.")
    settings: str = Field(description="Hash of the settings.")
    own_files: tuple[str, ...] = Field((), description="History files that its own runs wrote.")
    run_id: str = ""
    done: bool = Field(False, description="Whether promotion and learning followed the run.")


def snapshot_file(settings: TuneSettings) -> Path:
    """The file with the snapshot of a recurring run."""
    return workspace() / "recurring" / f"{own_slug(settings.dataset, settings.model)}.json"


@step
def detect_changes(settings: TuneSettings, history: Path) -> tuple[Snapshot, str | None]:
    """The present inputs, and in words what changed since the last run; None if nothing did.

    Trials that its own runs added to the history do not count as a change.
    """
    note = snapshot_file(settings)
    before = read_record(note, Snapshot) if note.exists() else None
    seen = before or Snapshot(dataset="", history="", settings="")
    dataset = load_dataset(
        resolve_dataset(settings.dataset, cache_folder() / "datasets").absolute()
    )
    others = [file for file in history_files(history) if file.name not in seen.own_files]
    parts = [part for file in others for part in (file.name, bytes.fromhex(file_hash(file)))]
    changes = {
        "dataset": dataset.fingerprint,
        "history": content_hash(*parts),
        "settings": content_hash(settings.model_dump_json()),
    }
    now = seen.model_copy(update=changes)
    if before is None:
        return now, "its first run"
    changed = [name for name in changes if getattr(now, name) != getattr(before, name)]
    return now, " and ".join(f"the {name} changed" for name in changed) or None


@step
def save_snapshot(
    settings: TuneSettings, seen: Snapshot, run_id: str, history: Path, done: bool
) -> Snapshot:
    """Saves the inputs of a run as seen before it, so that the same is not tuned twice.

    It is ``done`` once promotion and learning followed. History files with its name are its own.
    """
    new = [file.name for file in history_files(history) if file.name.startswith(f"{run_id}.")]
    own = tuple(sorted({*seen.own_files, *new}))
    now = seen.model_copy(update={"run_id": run_id, "own_files": own, "done": done})
    write_json(snapshot_file(settings), now)
    return now
