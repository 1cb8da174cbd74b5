"""``versions.json`` of a run: which data it read and which it wrote, as revisions."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.config.names import slug
from tasks.runs.folder import RunFolder
from trials.io.errors import SettingsError
from trials.spec.records import Record, read_record

FILE = "versions.json"
# What things are called in it; those of a dataset or a model have a function each.
HISTORY_NAME, MODELS_NAME, FEATURES_NAME = "history", "offline-models", "features"
ACCELERATE_NAME = "accelerate-config"


class RunVersions(Record):
    """``versions.json``: what a thing is called -> DVC's revision of its content."""

    read: dict[str, str] = Field(default_factory=dict)
    wrote: dict[str, str] = Field(default_factory=dict)
    remote: str | None = Field(None, description="Where they were pushed to.")


def dataset_name(dataset: str) -> str:
    """What a dataset is called in ``versions.json``."""
    return f"dataset-{slug(dataset)}"


def winner_name(dataset: str, model: str) -> str:
    """What the exported winner of a run is called."""
    return f"winner-{slug(dataset)}--{slug(Path(model).name)}"


def promoted_name(dataset: str, model: str) -> str:
    """What the promoted model of a dataset and a base model is called."""
    return f"promoted-{slug(dataset)}--{slug(Path(model).name)}"


def run_versions(run: RunFolder) -> RunVersions:
    """What a run read and wrote.

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
    """Whether what the run exported was kept: the last thing that a run does."""
    if not (run.path / FILE).exists():
        return False
    info = run.info()
    return winner_name(info.dataset.name, info.model) in run_versions(run).wrote
