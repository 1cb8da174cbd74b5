"""Runs of the real `autopipe tune`, each in a workspace and with a history of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files, read_history
from trials.io.errors import SettingsError
from trials.io.imports import child_environment
from trials.process.launch import log_tail

HISTORY, LOG = "history", "log.txt"


def bundled_files() -> list[Path]:
    """The files of the history that comes with AutoPipe, whatever else was added beside them."""
    return [file for file in history_files(BUNDLED_HISTORY) if file.name.startswith("bundled-")]


def copy_history(folder: Path, without: str | None = None) -> None:
    """Copy the bundled history into a new folder; all trials of one dataset can be left out.

    Raises:
        SettingsError: The history has no trial of it.
    """
    files = bundled_files()
    folder.mkdir(parents=True)
    if without is None:
        for file in files:
            shutil.copyfile(file, folder / file.name)
        return
    known = read_history(files)
    if without not in set(known["dataset_id"]):
        names = ", ".join(sorted(set(known["dataset_id"])))
        raise SettingsError(f"{without!r} is not in the history\n  there are: {names}")
    contents = set(known.loc[known["dataset_id"] == without, "dataset_fingerprint"])
    for file in files:
        rows = pd.read_parquet(file)
        own = (rows["dataset_id"] == without) | rows["dataset_fingerprint"].isin(contents)
        rows[~own].to_parquet(folder / file.name)


def tune(
    home: Path,
    arguments: Sequence[str],
    without: str | None = None,
    cores: Collection[int] | None = None,
) -> dict[str, Any]:
    """The summary of one run from a clean start; the remains of an interrupted one are removed.

    What it prints is in ``log.txt`` of its workspace, ``home``; the trials on one dataset can be
    left out of its history.

    Raises:
        SettingsError: ``home`` holds something else, or the command failed; its last lines say why.
    """
    if home.exists():
        if (
            any(home.iterdir()) and not (home / HISTORY).is_dir()
        ):  # made first, so that whatever a run left has it
            raise SettingsError(
                f"{home} would be replaced, and is no workspace of such a run (no {HISTORY}/)\n"
                "  name another folder, or move it away"
            )
        shutil.rmtree(home)
    copy_history(home / HISTORY, without)
    command = [sys.executable, "-m", "flows.cli", "tune", *arguments]
    command += ["--history", str(home / HISTORY)]
    with (home / LOG).open("w") as log:
        run = subprocess.Popen(
            command, env=child_environment({"AUTOPIPE_HOME": str(home)}), stdout=log, stderr=log
        )
        if cores is not None:
            os.sched_setaffinity(run.pid, cores)  # whatever it starts inherits them
    if run.wait() != 0:
        raise SettingsError(f"{' '.join(command)}\n{log_tail(home / LOG)}")
    found = outcome(home)
    assert found is not None  # a command that did not fail ended its run
    return found


def outcome(home: Path) -> dict[str, Any] | None:
    """The run's summary; None where it has not ended."""
    found = sorted(home.glob("runs/*/summary.json"))
    return json.loads(found[-1].read_text()) if found else None
