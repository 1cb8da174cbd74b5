"""A run's heartbeat, for trials that run on other machines.

The process that leads a run counts upwards in ``<run>/lease.json``. A worker ends its trial when
the count stands still, the file is gone or another process took over. Times of day are never
compared, so clocks may differ. ``<run>/leader.json`` beats for as long as a run is led at all, so
that no second process leads it; it names machine and process: a killed one is not waited for there.
"""

from __future__ import annotations

import json
import logging
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from tasks.sync.background import Background
from tasks.sync.store import StoredFolder, StoreError
from trials.io.watchdog import is_alive, supervisor_token
from trials.spec.records import write_json

log = logging.getLogger(__name__)

LEASE_FILE = "lease.json"  # while trials are run
LEADER_FILE = "leader.json"  # as long as a run is led
BEAT_SECONDS = 1.0
LOST_SECONDS = 6.0  # standing still for so long; a cancelled run is to leave nothing after 10 s


Run = Path | StoredFolder  # the folder of a run, or where that is on shared storage


class Lease(Background):
    """Held by the leader of a run: beats in a thread, in a file of the run, until it is left."""

    def __init__(self, run: Run, beat_seconds: float = BEAT_SECONDS, file: str = LEASE_FILE):
        super().__init__("lease")
        self._run, self._beat_seconds, self._file = run, beat_seconds, file
        # The holder distinguishes the leases of a run and of its resumption.
        self._holder = uuid.uuid4().hex

    def __enter__(self) -> Self:
        self._write(0)
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        with suppress(OSError, StoreError):  # one that stands still is as good as none
            if isinstance(self._run, Path):
                (self._run / self._file).unlink(missing_ok=True)
            else:
                self._run.store.remove(self._run.name, self._file)

    def work(self) -> None:
        count, failed = 0, False
        while not self.over.wait(self._beat_seconds):
            count += 1
            try:
                self._write(count)
            except Exception as error:  # a full disk, a share that is away: the next may succeed
                if not failed:
                    log.warning("%s: the heartbeat could not be written: %s", self._file, error)
                failed = True
            else:
                failed = False

    def _write(self, count: int) -> None:
        content = {
            "beat": count,
            "holder": self._holder,
            "machine": machine_id(),
            "process": supervisor_token(),
            "host": socket.gethostname(),
        }
        if isinstance(self._run, Path):
            write_json(self._run / self._file, content)
        else:
            self._run.store.write(json.dumps(content), self._run.name, self._file)


@cache
def machine_id() -> str:
    """Names where process ids mean the same: this boot of this machine, and its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def current_leader(run: Run, lost_seconds: float = LOST_SECONDS) -> str | None:
    """The process that leads a run now, in words; None if there is none.

    It takes ``lost_seconds`` to notice that a leader on another machine was killed.

    Raises:
        StoreError: the storage cannot be read.
    """
    first = _read(run, LEADER_FILE)
    content = _parse(first) or {}
    name = "another process, perhaps on another machine"
    if (pid := str(content.get("process", "")).partition(":")[0]).isdigit():
        name = f"process {pid} on {content.get('host', 'another machine')}"
    if content.get("machine") == machine_id() and "process" in content:
        return name if is_alive(str(content["process"])) else None
    deadline = time.monotonic() + lost_seconds
    while first is not None and time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 2)
        now = _read(run, LEADER_FILE)
        if now != first:
            return name if now is not None else None
    return None


def _read(run: Run, file: str) -> str | None:
    """The text of a heartbeat, None if there is no such file."""
    if isinstance(run, StoredFolder):
        return run.store.text(run.name, file)
    try:
        return (run / file).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _parse(text: str | None) -> dict[str, Any] | None:
    """The heartbeat as a mapping; None for half a file, of storage without atomic writes."""
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


class LeaseWatch(Background):
    """Calls back once, from a thread, when the lease of a run is lost or stands still."""

    def __init__(self, run: Run, on_lost: Callable[[], None], lost_seconds: float = LOST_SECONDS):
        super().__init__("lease-watch")
        self._run, self._on_lost, self._lost_seconds = run, on_lost, lost_seconds

    def work(self) -> None:
        holder, last, changed = None, None, time.monotonic()
        while not self.over.is_set():
            beat, removed = self._look()
            if beat is not None and beat != last:
                last, changed = beat, time.monotonic()
                holder = holder or beat["holder"]
            replaced = beat is not None and beat["holder"] != holder
            # A lease that cannot be read is not lost yet: a share may be away for a moment.
            ended = holder is not None and (removed or replaced)
            if ended or time.monotonic() - changed > self._lost_seconds:
                self._on_lost()
                return
            self.over.wait(BEAT_SECONDS / 2)

    def _look(self) -> tuple[dict[str, Any] | None, bool]:
        """The lease as it is now, None if it cannot be read, and whether it was removed."""
        try:
            text = _read(self._run, LEASE_FILE)
        except Exception:  # of whichever library: the storage may be away for a moment
            return None, False
        content = _parse(text)
        return content if content and "holder" in content else None, text is None
