"""``versions.json`` of a run: the revisions of the data that it read and wrote."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.config.names import slug
from tasks.runs.folder import RunFolder
from trials.io.errors import SettingsError
from trials.spec.records import Record, read_record

FILE = "versions.json"
# Names in it; those of a dataset or a model have a function each.
HISTORY_NAME, MODELS_NAME, FEATURES_NAME = "history", "offline-models", "features"
ACCELERATE_NAME = "accelerate-config"


class RunVersions(Record):
    """``versions.json``: names of data -> DVC's revisions of their content."""

    read: dict[str, str] = Field(default_factory=dict)
    wrote: dict[str, str] = Field(default_factory=dict)
    remote: str | None = Field(None, description="Where they were pushed to.")


def dataset_name(dataset: str) -> str:
    """The name of a dataset in ``versions.json``."""
    return f"dataset-{slug(dataset)}"


def winner_name(dataset: str, model: str) -> str:
    """The name of the exported winner of a run."""
    return f"winner-{slug(dataset)}--{slug(Path(model).name)}"


def promoted_name(dataset: str, model: str) -> str:
    """The name of the promoted model of a dataset and a base model."""
    return f"promoted-{slug(dataset)}--{slug(Path(model).name)}"


def run_versions(run: RunFolder) -> RunVersions:
    """The record of what a run read and wrote.

    Raises:
        SettingsError: the run has no record of it.
    """
    file = run.path / FILE
    if not file.exists():
        raise SettingsError(
            f"run {run.run_id} has no {FILE}: it is older than versions are, or never began\n"
            "  what it read may be gone; start a new run"
        )
    return read_record(file, RunVersions)


def keeps_winner(run: RunFolder) -> bool:
    """True if what the run exported was kept, which is the last thing that a run does."""
    if not (run.path / FILE).exists():
        return False
    info = run.info()
    return winner_name(info.dataset.name, info.model) in run_versions(run).wrote
