"""A run in Prefect's log: one line an event, and what the training processes print."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Self

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tasks.execution.base import TRIALS
from tasks.monitoring import observers
from tasks.runs.folder import RunFolder, RunInfo
from tasks.runs.formatting import outcome, percent, pluralize, plus_minus
from tasks.sync.background import Background
from trials.io.redact import redacted
from trials.spec.records import TrialResult, TrialSpec

POLL_SECONDS = 1.0
LINE_LIMIT = 2000  # characters; Prefect refuses logs that are much longer
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # a log has none
LINES_A_POLL = 50  # a program that prints without end must not drown the server


class PrefectRunLog(Background, observers.RunObserver):
    """Writes to the log of the flow run at hand, also the text of ``log.txt`` files as it grows."""

    def __init__(self, run: RunFolder):
        super().__init__("run-log")
        self._run = run
        self._log = _logger()
        self._info: RunInfo | None = None
        self._offsets: dict[Path, int] = {}

    def __enter__(self) -> Self:
        # What is there already is not repeated.
        self._offsets = {file: file.stat().st_size for file in self._logs()}
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._read()

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.PhaseStarted(text) | observers.Message(text):
                self._log.info(text)
            case observers.RunStarted(info):
                self._info = info
                self._log.info(
                    "run %s: %s with %s, budget %s; history of %s on %s",
                    self._run.run_id, info.dataset.name, info.model, info.settings.budget,
                    pluralize(info.history.trials, "trial"),
                    pluralize(info.history.datasets, "dataset"),
                )  # fmt: skip
            case observers.TrialFinished(spec, result, replayed) if not replayed:
                self._log_trial(spec, result)
            case observers.RunFinished(summary):
                self._log.info("run %s: %s", self._run.run_id, outcome(summary))

    def _log_trial(self, spec: TrialSpec, result: TrialResult) -> None:
        proxy = self._info.proxy_of(spec) if self._info else None
        name = f"{spec.trial_id} on {proxy}" if proxy else spec.trial_id
        if result.failure:
            failure = f"{result.failure.kind}: {result.failure.message}"
            self._log.warning("trial %s failed (%s)", name, redacted(failure))
            return
        stop = f", stopped by {result.stop.rule}" if result.stop else ""
        length, score = percent(result.fraction), plus_minus(result.score, result.score_se)
        self._log.info("trial %s at %s of full length: %s%s", name, length, score, stop)

    def _logs(self) -> list[Path]:
        trials = self._run.path / TRIALS
        return sorted([*trials.glob("*/log.txt"), *trials.glob("*/*/log.txt")])

    def work(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            self._read()

    def _read(self) -> None:
        for file in self._logs():
            trial = file.parent.relative_to(self._run.path / TRIALS).as_posix()
            lines, self._offsets[file] = _new_lines(file, self._offsets.get(file, 0))
            for line in lines[-LINES_A_POLL:]:
                self._log.info("%s | %s", trial, redacted(line)[:LINE_LIMIT])


def _new_lines(file: Path, offset: int) -> tuple[list[str], int]:
    """Whole lines from a byte offset on; a progress bar's carriage returns leave its last state."""
    try:
        with file.open("rb") as stream:
            if file.stat().st_size < offset:
                offset = 0
            stream.seek(offset)
            whole, newline, _ = stream.read().rpartition(b"\n")
    except OSError:
        return [], offset
    if not newline:
        return [], offset
    text = COLOURS.sub("", whole.decode("utf-8", errors="replace"))
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\n")]
    return [line for line in lines if line], offset + len(whole) + 1


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:  # outside of a flow, as in tests
        return logging.getLogger(__name__)
