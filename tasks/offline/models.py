"""The offline models: trained on the history once, and cached by a hash of their training data.

They are trained in a process of their own, in parallel to the probe of the base model, so that it
can be ended at any moment, whatever library is at work in it.

    python -m tasks.offline.models REQUEST.json
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ConfigSpace import ConfigurationSpace

from surrogates.online.search import OfflineModels
from tasks.config.paths import cache_folder
from tasks.history.checks import learnable_history
from tasks.history.rows import row_count, search_history
from tasks.inputs.spaces import load_space, space_text
from tasks.offline.feature_groups import learned_features
from tasks.offline.features import read_features, with_features
from trials.io.atomic import new_folder
from trials.io.errors import AutoPipeError
from trials.io.hashing import content_hash
from trials.io.redact import redact_file
from trials.io.watchdog import end_with_supervisor
from trials.process.launch import Launcher, log_tail
from trials.spec.records import Record, read_record, write_json

# Part of the key: models made by other code are not reused.
FORMAT = "8"
SEED = 0  # of every model
COMPLETE, LOG = "complete", "log.txt"
POLL_SECONDS = 0.1
# Seconds of training per second of a run's start: a constant, and parts for each row and pair.
START_SHARE, ROWS_OF_START, PAIR_SHARE = 0.7, 16_000, 0.5
LESS_URGENT = 10  # than the probe that runs beside it


class OfflineRequest(Record):
    """The inputs of the training of the offline models."""

    files: list[Path]  # of the history
    space: Path  # that is searched, as ConfigSpace's JSON
    features: Path | None  # table of meta-features
    pairs: tuple[tuple[str, str], ...] = ()  # of models whose agreement is wanted
    folder: Path  # of the trained models


class OfflineTraining:
    """Trains the offline models in a process of its own while it is open, unless they are cached.

    Without history files there are no models. Rows that do not pass the checks are quarantined.
    The table of features, if there is one, describes old rows as the dataset at hand is described.
    How far the models of each pair agreed on past datasets is learned, too.
    """

    def __init__(
        self,
        files: list[Path],
        space: ConfigurationSpace,
        features: Path | None = None,
        pairs: Sequence[tuple[str, str]] = (),
    ):
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        if not files:
            return
        text = space_text(space)
        table = features if features is not None and features.exists() else None
        read = [*files, *([table] if table else [])]
        content: list[str | bytes] = [
            f"{FORMAT}{text}{sorted(pairs)}",
            *(file.read_bytes() for file in read),
        ]
        self._folder = cache_folder() / "offline" / content_hash(*content)
        self._work = self._folder.with_name(f".{self._folder.name}.{os.getpid()}")
        self._request = OfflineRequest(
            files=files,
            space=self._work / "space.json",
            features=table,
            pairs=tuple(pairs),
            folder=self._folder,
        )
        self._space = text

    def __enter__(self) -> Self:
        if self._folder is not None and not (self._folder / COMPLETE).exists():
            self._work.mkdir(parents=True, exist_ok=True)
            self._request.space.write_text(self._space, encoding="utf-8")
            write_json(self._work / "request.json", self._request)
            with (self._work / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tasks.offline.models", self._work / "request.json"],
                    env=Launcher().environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # at once: it has nothing to put in order
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            shutil.rmtree(self._work, ignore_errors=True)

    def seconds(self, start_up: float) -> float:
        """Expected seconds until it ends, 0 if nothing is trained, where a run starts so fast."""
        if self._process is None or self._process.poll() is not None:
            return 0.0
        rows = sum(map(row_count, self._request.files))
        pairs = PAIR_SHARE * len(self._request.pairs)
        return start_up * (START_SHARE + rows / ROWS_OF_START + pairs)

    def models(self, wait_seconds: float | None = None) -> OfflineModels | None:
        """The models, once they are trained; None without a history, or after ``wait_seconds``.

        Raises:
            AutoPipeError: they cannot be trained, with the end of the log.
        """
        if self._folder is None:
            return None
        end = None if wait_seconds is None else time.monotonic() + wait_seconds
        while self._process is not None and self._process.poll() is None:
            if end is not None and time.monotonic() > end:
                return None
            time.sleep(POLL_SECONDS)
        if not (self._folder / COMPLETE).exists():
            redact_file(self._work / LOG)
            raise AutoPipeError(
                "the offline models cannot be trained on the history; look at it with: autopipe "
                f"history check; or leave it out: --no-use-history\n{log_tail(self._work / LOG)}"
            )
        return OfflineModels.load(self._folder)


def train_offline(request: OfflineRequest) -> None:
    """Trains the models and keeps them in the request's folder."""
    rows = learnable_history(request.files)
    if request.features:
        rows = with_features(rows, read_features(request.features))
    rows = search_history(learned_features(rows))
    space = load_space(str(request.space))
    models = OfflineModels.fit(rows, space, SEED, pairs=request.pairs)
    with new_folder(request.folder) as draft:
        models.save(draft)
        (draft / COMPLETE).touch()


if __name__ == "__main__":
    end_with_supervisor()
    os.nice(LESS_URGENT)
    train_offline(read_record(Path(sys.argv[1]), OfflineRequest))
