"""``events.jsonl``: what a trial says while it runs, one JSON object per line, flushed at once.

Kinds: ``phase`` (loading, sft, rl, ...), ``metric`` (values logged at a step), ``score`` (a
validation score, with that of every row), ``evaluating`` (a sign of life), ``stop`` (a rule fired),
``would_stop`` (one in its shadow), ``rollouts`` (rows and task rewards that a curriculum was shown)
and ``difficulty`` (ranks of the training rows that it chooses among).
``seconds`` counts from the start of the trial; tokens are those since the event before.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trials.io.errors import RecordError
from trials.io.record_files import remedy_of
from trials.spec.records import CurvePoint

# What a curve keeps of everything that TRL logs, under shorter names.
CURVE_METRICS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "groups_without_spread",
    "useful_share": "useful_share",
    "prompt_coverage": "prompt_coverage",
    "kl": "kl",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated",
}

Event = dict[str, Any]


class EventLog:
    """Appends events; the only writer of its file.

    On all but the main process of a distributed trial it is not ``active``: nothing is written. An
    interrupted attempt at the trial took ``before`` seconds.
    """

    def __init__(self, path: Path, active: bool = True, before: float = 0.0):
        if active:
            _drop_half_line(path)
        self._file = path.open("a", encoding="utf-8") if active else None
        self._before, self._start = before, time.monotonic()

    @property
    def active(self) -> bool:
        """True in the process that writes."""
        return self._file is not None

    @property
    def seconds(self) -> float:
        """Seconds since the trial started, its earlier attempts included."""
        return self._before + self.attempt_seconds

    @property
    def attempt_seconds(self) -> float:
        """Seconds since this attempt at the trial started."""
        return time.monotonic() - self._start

    def write(self, kind: str, **fields: Any) -> None:
        if self._file is None:
            return
        event = {"kind": kind, "seconds": round(self.seconds, 3), **fields}
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _drop_half_line(path: Path) -> None:
    """Cuts off what a killed writer left of its last line; the next event would be glued to it."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def read_events(path: Path) -> Iterator[Event]:
    """Events of a file; a last line that is still being written is left out."""
    yield from read_new_events(path, 0)[0]


def read_new_events(path: Path, offset: int) -> tuple[list[Event], int]:
    """Events from a byte offset on, and the offset to read from next time.

    A last line that is still being written is left for the next read.

    Raises:
        RecordError: another line is no event.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        whole, _, _ = file.read().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    return [_event(line, path) for line in lines], offset + len(whole) + bool(whole)


def _event(line: bytes, path: Path) -> Event:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        event, found = None, f"is not JSON ({error})"
    else:
        found = "is not an event"
    if not isinstance(event, dict) or "kind" not in event:
        start = line[:60].decode("utf-8", errors="replace")
        raise RecordError(path, f"the line {start!r} {found}", remedy_of(path))
    return event


def curve(events: Iterable[Event]) -> list[CurvePoint]:
    """The curve of a trial: the kept metrics of every step, and every validation score."""
    return [
        CurvePoint(stage=event["stage"], step=event["step"], metric=metric, value=float(value))
        for event in events
        if event["kind"] in ("metric", "score")
        for metric, value in event["values"].items()
        if math.isfinite(value)  # NaN and infinity are events, not points of the curve
    ]
