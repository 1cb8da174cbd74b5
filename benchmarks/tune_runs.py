"""Runs of the real `autopipe tune`, each in a workspace and with a history of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files
from trials.io.errors import SettingsError
from trials.io.imports import child_environment

HISTORY, LOG = "history", "log.txt"


def bundled_files() -> list[Path]:
    """The files of the history that comes with AutoPipe, whatever else was added beside them."""
    return [file for file in history_files(BUNDLED_HISTORY) if file.name.startswith("bundled-")]


def tune(home: Path, arguments: Sequence[str], cores: set[int] | None = None) -> None:
    """One run in a workspace that holds its ``history`` already.

    Args:
        home: the workspace; what the run prints is in its ``log.txt``.
        arguments: of `autopipe tune`.
        cores: that it may use; None: all.

    Raises:
        SettingsError: The command failed; its last lines say why.
    """
    command = [sys.executable, "-m", "flows.cli", "tune", *arguments]
    command += ["--history", str(home / HISTORY)]
    with (home / LOG).open("w") as log:
        run = subprocess.Popen(
            command, env=child_environment({"AUTOPIPE_HOME": str(home)}), stdout=log, stderr=log
        )
        if cores is not None:
            os.sched_setaffinity(run.pid, cores)  # whatever it starts inherits them
        if run.wait() == 0:
            return
    last = "\n".join((home / LOG).read_text().splitlines()[-15:])
    raise SettingsError(f"{' '.join(command)}\n{last}")


def outcome(home: Path) -> dict[str, Any] | None:
    """The run's summary; None where it has not ended."""
    found = sorted(home.glob("runs/*/summary.json"))
    return json.loads(found[-1].read_text()) if found else None
