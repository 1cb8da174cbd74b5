"""A run's sign of life, for trials that run on other machines.

The process that leads a run counts upwards in ``<run>/lease.json``. Who runs a trial for it, on
another worker, looks at the count: when it stands still, or the file is gone, the leader is gone
and the trial is ended; so it is when another process took over, which will run the trial itself.
Only changes are compared, never times of day, so clocks may differ.

Beside it, ``<run>/leader.json`` beats for as long as a run is led at all, for who would lead it
too. It names machine and process as well: on the same machine it is known at once whether the
leader lives, and one that was killed is not waited for.
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
LEADER_FILE = "leader.json"  # as long as a run is led, for who would lead it, too
BEAT_SECONDS = 1.0
LOST_SECONDS = 6.0  # standing still for so long; a cancelled run is to leave nothing after 10 s


class Lease(Background):
    """Held by the leader of a run: beats in a thread until it is left.

    Args:
        run: its folder, or where that is on shared storage.
        beat_seconds: between two beats.
        file: name of the file that it counts in.
    """

    def __init__(
        self, run: Path | StoredFolder, beat_seconds: float = BEAT_SECONDS, file: str = LEASE_FILE
    ):
        super().__init__("lease")
        self._run, self._beat_seconds, self._file = run, beat_seconds, file
        # The holder sets the leases of a run and of its resumption apart.
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
                    log.warning("%s: the sign of life could not be written: %s", self._file, error)
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


def current_leader(run: Path | StoredFolder, lost_seconds: float = LOST_SECONDS) -> str | None:
    """Who leads a run now, as people call it; None where nobody does.

    Of a leader on another machine that was killed it takes a moment to know.

    Args:
        run: its folder, or where that is on shared storage.
        lost_seconds: after which a sign of life that stands still is none.

    Raises:
        StoreError: the storage cannot be read.
    """
    first = _text(run, LEADER_FILE)
    content = _content(first) or {}
    who = _who(content)
    if content.get("machine") == machine_id() and "process" in content:
        return who if is_alive(str(content["process"])) else None
    deadline = time.monotonic() + lost_seconds
    while first is not None and time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 2)
        now = _text(run, LEADER_FILE)
        if now != first:
            return who if now is not None else None
    return None


def _text(run: Path | StoredFolder, file: str) -> str | None:
    """What a sign of life says, None where there is none."""
    if isinstance(run, Path):
        try:
            return (run / file).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
    return run.store.text(run.name, file)


def _content(text: str | None) -> dict[str, Any] | None:
    """It as a mapping; None for half a file, of storage that does not replace files whole."""
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _who(content: dict[str, Any]) -> str:
    pid = str(content.get("process", "")).partition(":")[0]
    if not pid.isdigit():
        return "another process, perhaps on another machine"
    return f"process {pid} on {content.get('host', 'another machine')}"


class LeaseWatch(Background):
    """Calls back once when the lease of a run is lost; used as a context around the work.

    Args:
        run: its folder, or where that is on shared storage.
        on_lost: called from a thread of its own.
        lost_seconds: without a beat.
    """

    def __init__(
        self,
        run: Path | StoredFolder,
        on_lost: Callable[[], None],
        lost_seconds: float = LOST_SECONDS,
    ):
        super().__init__("lease-watch")
        self._run, self._on_lost, self._lost_seconds = run, on_lost, lost_seconds

    def work(self) -> None:
        holder, last, changed = None, None, time.monotonic()
        while not self.over.is_set():
            now, gone = self._read()
            if now is not None and now != last:
                last, changed = now, time.monotonic()
                holder = holder or now["holder"]
            # Given up, or taken over; else a share may be away for a moment.
            ended = holder is not None and (gone or _other(now, holder))
            if ended or time.monotonic() - changed > self._lost_seconds:
                self._on_lost()
                return
            self.over.wait(BEAT_SECONDS / 2)

    def _read(self) -> tuple[dict[str, Any] | None, bool]:
        """What the lease says, None if that cannot be told now, and whether it is gone."""
        try:
            text = _text(self._run, LEASE_FILE)
        except Exception:  # whatever a library of a storage raises: it may be away for a moment
            return None, False
        if text is None:
            return None, True
        content = _content(text)
        return (content, False) if content is not None and "holder" in content else (None, False)


def _other(content: dict[str, Any] | None, holder: object) -> bool:
    return content is not None and content["holder"] != holder
