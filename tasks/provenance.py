"""Which data a run read and which it wrote, as revisions of ``tasks.versions``."""

from __future__ import annotations

import configparser
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from surrogates.offline import OfflineModels
from tasks.names import slug
from tasks.run_folder import RunFolder
from tasks.versions import shown, versions
from trials.errors import AutoPipeError, SettingsError
from trials.records import Record, read_record, write_json
from trials.redact import redacted

log = logging.getLogger(__name__)

FILE = "versions.json"
# What things are called in it; those of a dataset or a model have a function each.
HISTORY_NAME, MODELS_NAME, FEATURES_NAME = "history", "offline-models", "features"
ACCELERATE_NAME = "accelerate-config"
Content = Path | Sequence[Path]


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


@task(cache_policy=NO_CACHE)
def keep_inputs(run: RunFolder, history: Sequence[Path], features: Path | None) -> None:
    """Keeps what a search begins with: dataset, history, Accelerate config.

    Once: a run that is resumed goes on with what it began with.
    """
    if (run.path / FILE).exists():
        return
    info = run.info()
    inputs: dict[str, Content] = {dataset_name(info.dataset.name): Path(info.dataset.path)}
    if history:
        inputs[HISTORY_NAME] = [*history, *([features] if features else [])]
    if info.settings.accelerate_config:
        inputs[ACCELERATE_NAME] = Path(info.settings.accelerate_config)
    _note(run.path, read=_revisions(inputs))


@task(cache_policy=NO_CACHE)
def keep_learned(
    run: RunFolder, history: Sequence[Path], models: OfflineModels | None = None
) -> None:
    """Keeps the history that a run's trials are part of now, and the models it searched with."""
    with tempfile.TemporaryDirectory(prefix="autopipe-versions-") as draft:
        outputs: dict[str, Content] = {HISTORY_NAME: history}
        if models is not None:
            models.save(draft)
            outputs[MODELS_NAME] = Path(draft)
        _note(run.path, wrote=_revisions(outputs))


@task(cache_policy=NO_CACHE)
def keep_winner(run: RunFolder) -> None:
    """Keeps the export of a run's best trial: its checkpoint, and what trains it again."""
    info = run.info()
    winner = {winner_name(info.dataset.name, info.model): run.path / "best"}
    _note(run.path, wrote=_revisions(winner))


@task(cache_policy=NO_CACHE)
def keep_read(folder: Path, inputs: Mapping[str, Content]) -> None:
    """Keeps what a flow reads, and notes the revisions in ``versions.json`` of a folder.

    Args:
        folder: of the run, or where else the flow leaves what it makes.
        inputs: what each is called, and its file, folder, or files. What is empty is left out, and
            so is, with a warning, what DVC could not keep: keeping versions never ends a run.
    """
    _note(folder, read=_revisions(inputs))


@task(cache_policy=NO_CACHE)
def keep_written(folder: Path, outputs: Mapping[str, Content]) -> None:
    """As ``keep_read``, for what a flow wrote."""
    _note(folder, wrote=_revisions(outputs))


def _revisions(things: Mapping[str, Content]) -> dict[str, str]:
    found = {}
    for name, content in things.items():
        try:
            if isinstance(content, Path):
                found[name] = versions().keep(name, content)
            elif content:
                with gathered(content) as folder:
                    found[name] = versions().keep(name, folder)
        except Exception as error:  # DVC's own, the disk's, or of whichever library a remote takes
            log.warning(
                "%s is not kept: %s\n  the run goes on; it can be repeated from the files that are "
                "there now, not from versions.json",
                *(name, redacted(str(error) or type(error).__name__)),
            )
    return found


def _note(folder: Path, **revisions: Mapping[str, str]) -> None:
    """Adds to what is noted already: a flow that is repeated or resumed goes on with its note."""
    file = folder / FILE
    try:
        before = read_record(file, RunVersions) if file.exists() else RunVersions()
        changes = {kind: getattr(before, kind) | dict(new) for kind, new in revisions.items()}
        remote = versions().remote
        write_json(file, before.model_copy(update={**changes, "remote": remote and shown(remote)}))
    except (AutoPipeError, configparser.Error) as error:
        log.warning("the versions are not noted: %s\n  the run goes on", error)


@contextmanager
def gathered(files: Sequence[Path]) -> Iterator[Path]:
    """A folder with just these files, linked where the file system can."""
    with tempfile.TemporaryDirectory(prefix="autopipe-versions-") as name:
        folder = Path(name)
        for file in files:
            try:
                os.link(file, folder / file.name)
            except OSError:  # another file system
                shutil.copyfile(file, folder / file.name)
        yield folder
