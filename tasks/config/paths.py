"""Paths: of the data that comes with the project, and of what is made while working.

The first lie in ``data/`` of the checkout, or in ``autopipe/data`` of an installed AutoPipe, where
nothing is ever written. History, offline models and built datasets lie side by side: in ``data/``
of the checkout, in ``autopipe-data/`` of an installed AutoPipe's workspace, or where
``AUTOPIPE_HISTORY`` says; a history of the latter two begins as a copy of the bundled one.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from trials.io.hashing import content_hash

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = (ROOT / "autopipe" / "data").is_dir()  # pyproject.toml says what goes there
BUNDLED = ROOT / "autopipe" if INSTALLED else ROOT
DATA, DEPLOYMENTS = BUNDLED / "data", BUNDLED / "deployments"
SPACES = DATA / "spaces"
BUNDLED_HISTORY, BUNDLED_OFFLINE = DATA / "history", DATA / "offline"
HISTORY_VARIABLE = "AUTOPIPE_HISTORY"
# In a run's folder: pages of Great Expectations on its dataset and on the history it learned from.
DATASET_DOCS, HISTORY_DOCS = "data_docs", "history_docs"


class OfflineFolder:
    """Files that the offline steps leave for each other and for people (docs/offline.md)."""

    def __init__(self, path: Path):
        self.path = path
        self.validation = path / "validation.json"  # how many rows passed the suites
        self.data_docs = path / "data_docs"  # pages of Great Expectations
        self.checked = path / "history.parquet"  # the history rows that can be learned from
        self.features = path / "features.csv"  # meta-features of datasets and models
        self.models = path / "models"
        self.training = path / "training.json"  # what the models were trained on
        self.metrics = path / "metrics.json"  # how good they are on datasets left out
        self.plots = path / "plots"  # the same as tables


def history_folder() -> Path:
    """The history: where ``AUTOPIPE_HISTORY`` says by now, else the checkout's or workspace's."""
    own = workspace() / "autopipe-data" / "history" if INSTALLED else BUNDLED_HISTORY
    return Path(os.environ.get(HISTORY_VARIABLE) or own).resolve()


def built_folder() -> Path:
    """Datasets of the catalog, built to be learned from."""
    return history_folder().with_name("built")


def offline_folder() -> OfflineFolder:
    """The folder of what the offline flow makes of the history."""
    return OfflineFolder(history_folder().with_name("offline"))


def workspace() -> Path:
    """Folder of runs and caches: ``AUTOPIPE_HOME``, or the current folder."""
    return Path(os.environ.get("AUTOPIPE_HOME", ".")).resolve()


def runs_folder() -> Path:
    """The folder of all run folders."""
    return workspace() / "runs"


def writable(path: Path) -> Path:
    """A path in UTF-8: itself, or a link to it, always the same, with its bytes as escapes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        place = os.fsencode(path.absolute())
        shown = quote(os.fsencode(path.name), safe=" ()[]{}+,=@~")
        link = cache_folder() / "names" / content_hash(place) / shown
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path.absolute())
        return link
    return path


def cache_folder() -> Path:
    """The folder of what can be made again: datasets, probes, offline models."""
    return workspace() / ".cache" / "autopipe"
