"""Events of trials on other machines, read from the run's folder as they are written."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from tasks.execution.base import EVENTS, RESULT, is_retryable
from tasks.sync.background import Background
from trials.io.errors import RecordError
from trials.process.supervisor import OnEvent
from trials.spec.events import read_new_events
from trials.spec.records import TrialResult, TrialSpec, read_record

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5
REMEMBERED_BYTES = 200


class EventFollower(Background):
    """Calls back with every event of the trials that it follows, from a thread of its own."""

    def __init__(self, on_event: OnEvent):
        super().__init__("follower")
        self._on_event = on_event
        self._read_to: dict[str, tuple[int, bytes]] = {}  # offset, and what stands before it
        self._specs: dict[str, TrialSpec] = {}
        self._lock = threading.Lock()

    def follow(self, spec: TrialSpec) -> None:
        """Follows a trial until it has a result that is final."""
        with self._lock:
            self._specs[spec.trial_id] = spec
            self._read_to[spec.trial_id] = 0, b""

    def work(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            with self._lock:
                specs = list(self._specs.values())
            for spec in specs:
                self._read(spec)

    def _read(self, spec: TrialSpec) -> None:
        file = Path(spec.folder) / EVENTS
        over = _is_over(file.with_name(RESULT))  # looked at first: no event is missed
        offset, before = self._read_to[spec.trial_id]
        if _bytes_before(file, offset) != before:  # a new attempt begins anew
            offset = 0
        try:
            events, offset = read_new_events(file, offset)
        except RecordError as error:  # what is shown of it ends here; its result is read anyway
            log.warning("%s", error)
            events, over = [], True
        self._read_to[spec.trial_id] = offset, _bytes_before(file, offset)
        for event in events:
            self._on_event(spec, event)
        if over:
            with self._lock:
                self._specs.pop(spec.trial_id, None)


def _is_over(result: Path) -> bool:
    """True if there is a result that is not discarded for another attempt."""
    try:
        return not is_retryable(read_record(result, TrialResult))
    except (OSError, ValueError):  # none, or storage that does not replace files whole
        return False


def _bytes_before(file: Path, offset: int) -> bytes:
    """The end of the last line before an offset; no two attempts have the same seconds there."""
    start = max(0, offset - REMEMBERED_BYTES)
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            return stream.read(offset - start)
    except FileNotFoundError:
        return b""
