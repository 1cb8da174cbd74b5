"""Where things lie: the data that comes with the project, and what is made while working.

What comes with it lies in ``data/`` of the checkout, or in ``autopipe/data`` of an installed
AutoPipe, where nothing is ever written.

The history, the offline models and the built datasets lie side by side: in ``data/`` of the
checkout; in ``autopipe-data/`` of the workspace, if AutoPipe is installed; or where
``AUTOPIPE_HISTORY`` says, for a checkout that is not to be written to or that is not the same on
every machine. A history of the latter two begins as a copy of the bundled one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OfflineFolder:
    """What the steps of the offline flow leave for each other and for people (docs/offline.md)."""

    path: Path

    @property
    def validation(self) -> Path:
        """How many rows passed the suites."""
        return self.path / "validation.json"

    @property
    def data_docs(self) -> Path:
        """Pages of Great Expectations."""
        return self.path / "data_docs"

    @property
    def checked(self) -> Path:
        """The history rows that can be learned from."""
        return self.path / "history.parquet"

    @property
    def features(self) -> Path:
        """Meta-features of datasets and models."""
        return self.path / "features.csv"

    @property
    def models(self) -> Path:
        """The offline models."""
        return self.path / "models"

    @property
    def training(self) -> Path:
        """What they were trained on."""
        return self.path / "training.json"

    @property
    def metrics(self) -> Path:
        """How good they are on datasets left out."""
        return self.path / "metrics.json"

    @property
    def plots(self) -> Path:
        """The same as tables."""
        return self.path / "plots"


def history_folder() -> Path:
    """The history: where ``AUTOPIPE_HISTORY`` says by now, else the checkout's or workspace's."""
    own = workspace() / "autopipe-data" / "history" if INSTALLED else BUNDLED_HISTORY
    return Path(os.environ.get(HISTORY_VARIABLE) or own).resolve()


def built_folder() -> Path:
    """Datasets of the catalog, built to be learned from."""
    return history_folder().with_name("built")


def offline_folder() -> OfflineFolder:
    """What the offline flow makes of the history."""
    return OfflineFolder(history_folder().with_name("offline"))


def workspace() -> Path:
    """Folder of runs and caches: ``AUTOPIPE_HOME``, or the current folder."""
    return Path(os.environ.get("AUTOPIPE_HOME", ".")).resolve()


def runs_folder() -> Path:
    """Where run folders are made."""
    return workspace() / "runs"


def writable(path: Path) -> Path:
    """A path that can be written down, in JSON and on a terminal.

    Where a name on the way is not UTF-8, that is a link to it, whose name shows the bytes as
    escapes and is always the same.
    """
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
    """What can be made again: datasets, probes, offline models."""
    return workspace() / ".cache" / "autopipe"
