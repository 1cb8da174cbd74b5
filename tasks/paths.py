"""Where things lie: the data that comes with the project, and what is made while working."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
SPACES = DATA / "spaces"
HISTORY = DATA / "history"


def workspace() -> Path:
    """Folder of runs and caches: ``AUTOPIPE_HOME``, or the current folder."""
    return Path(os.environ.get("AUTOPIPE_HOME", ".")).resolve()


def runs_folder() -> Path:
    """Where run folders are made."""
    return workspace() / "runs"


def cache_folder() -> Path:
    """What can be made again: datasets, probes, offline models."""
    return workspace() / ".cache" / "autopipe"
