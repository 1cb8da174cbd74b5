"""Data that a run read and wrote, as revisions of ``tasks.versioning.store``."""

from __future__ import annotations

import configparser
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from surrogates.offline.models import OfflineModels
from tasks.config.steps import step
from tasks.runs.folder import RunFolder
from tasks.runs.versions import (
    ACCELERATE_NAME,
    FILE,
    HISTORY_NAME,
    MODELS_NAME,
    RunVersions,
    dataset_name,
    winner_name,
)
from tasks.versioning.store import redacted_urls, version_store
from trials.io.errors import AutoPipeError
from trials.io.redact import redacted
from trials.spec.records import read_record, write_json

log = logging.getLogger(__name__)

Content = Path | Sequence[Path]


@step
def version_run_inputs(run: RunFolder, history: Sequence[Path], features: Path | None) -> None:
    """Versions the inputs of a search: dataset, history, Accelerate config.

    Once: a resumed run continues with the inputs that it started with.
    """
    if (run.path / FILE).exists():
        return
    info = run.info()
    inputs: dict[str, Content] = {dataset_name(info.dataset.name): Path(info.dataset.path)}
    if history:
        inputs[HISTORY_NAME] = [*history, *([features] if features else [])]
    if info.settings.accelerate_config:
        inputs[ACCELERATE_NAME] = Path(info.settings.accelerate_config)
    _note(run.path, "read", inputs)


@step
def version_history_and_models(
    run: RunFolder, history: Sequence[Path], models: OfflineModels | None = None
) -> None:
    """Versions the history that a run's trials have joined, and the models it searched with."""
    with tempfile.TemporaryDirectory(prefix="autopipe-versions-") as draft:
        outputs: dict[str, Content] = {HISTORY_NAME: history}
        if models is not None:
            models.save(draft)
            outputs[MODELS_NAME] = Path(draft)
        _note(run.path, "wrote", outputs)


@step
def version_export(run: RunFolder) -> None:
    """Versions the export of a run's best trial: its weights, and what trains it again."""
    info = run.info()
    winner = {winner_name(info.dataset.name, info.model): run.path / "best"}
    _note(run.path, "wrote", winner)


@step
def version_inputs(folder: Path, inputs: Mapping[str, Content]) -> None:
    """Versions the inputs of a flow, and records the revisions in ``versions.json`` of a folder.

    Empty ones are left out, and so are, with a warning, those that DVC could not add: versioning
    never ends a run.
    """
    _note(folder, "read", inputs)


@step
def version_outputs(folder: Path, outputs: Mapping[str, Content]) -> None:
    """As ``version_inputs``, for the outputs of a flow."""
    _note(folder, "wrote", outputs)


def _note(folder: Path, kind: Literal["read", "wrote"], things: Mapping[str, Content]) -> None:
    """Adds to what is recorded already: a repeated or resumed flow extends its record."""
    found = {}
    for name, content in things.items():
        try:
            if isinstance(content, Path):
                found[name] = version_store().add(name, content)
            elif content:
                with linked_folder(content) as linked:
                    found[name] = version_store().add(name, linked)
        except Exception as error:  # DVC's own, the disk's, or of whichever library a remote takes
            log.warning(
                "%s is not versioned: %s\n  the run continues; it can be repeated from the files "
                "that are there now, not from versions.json",
                *(name, redacted(str(error) or type(error).__name__)),
            )
    file = folder / FILE
    try:
        before = read_record(file, RunVersions) if file.exists() else RunVersions()
        remote = version_store().remote
        changes = {kind: getattr(before, kind) | found, "remote": remote and redacted_urls(remote)}
        write_json(file, before.model_copy(update=changes))
    except (AutoPipeError, configparser.Error) as error:
        log.warning("the versions are not recorded: %s\n  the run continues", error)


@contextmanager
def linked_folder(files: Sequence[Path]) -> Iterator[Path]:
    """A folder with just these files, linked where the file system can."""
    with tempfile.TemporaryDirectory(prefix="autopipe-versions-") as name:
        folder = Path(name)
        for file in files:
            try:
                os.link(file, folder / file.name)
            except OSError:  # another file system
                shutil.copyfile(file, folder / file.name)
        yield folder
