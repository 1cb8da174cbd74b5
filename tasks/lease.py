"""A run's sign of life, for trials that run on other machines.

The process that leads a run counts upwards in ``<run>/lease.json``. Who runs a trial for it, on
another worker, looks at the count: when it stands still, or the file is gone, the leader is gone
and the trial is ended; so it is when another process took over, which will run the trial itself.
Only changes are compared, never times of day, so clocks may differ.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from tasks.background import Background
from tasks.store import Stored, StoreError
from trials.records import write_json

LEASE_FILE = "lease.json"  # while trials are run
LEADER_FILE = "leader.json"  # as long as a run on shared storage is led, for who would lead it, too
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
        self, run: Path | Stored, beat_seconds: float = BEAT_SECONDS, file: str = LEASE_FILE
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
        count = 0
        while not self.over.wait(self._beat_seconds):
            count += 1
            with suppress(OSError, StoreError):  # a full disk, a share that is away: the next may
                self._write(count)

    def _write(self, count: int) -> None:
        content = {"beat": count, "holder": self._holder}
        if isinstance(self._run, Path):
            write_json(self._run / self._file, content)
        else:
            self._run.store.write(json.dumps(content), self._run.name, self._file)


def is_led(run: Stored, lost_seconds: float = LOST_SECONDS) -> bool:
    """Whether somebody leads a stored run now; where a leader was killed that takes a moment.

    Raises:
        StoreError: the storage cannot be read.
    """
    first = run.store.text(run.name, LEADER_FILE)
    deadline = time.monotonic() + lost_seconds
    while first is not None and time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 2)
        now = run.store.text(run.name, LEADER_FILE)
        if now != first:
            return now is not None
    return False


class LeaseWatch(Background):
    """Calls back once when the lease of a run is lost; used as a context around the work.

    Args:
        run: its folder, or where that is on shared storage.
        on_lost: called from a thread of its own.
        lost_seconds: without a beat.
    """

    def __init__(
        self,
        run: Path | Stored,
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

    def _read(self) -> tuple[dict[str, str] | None, bool]:
        """What the lease says, None if that cannot be told now, and whether it is gone."""
        try:
            if isinstance(self._run, Path):
                text: str | None = (self._run / LEASE_FILE).read_text(encoding="utf-8")
            else:
                text = self._run.store.text(self._run.name, LEASE_FILE)
        except FileNotFoundError:
            return None, True
        except (OSError, StoreError):
            return None, False
        if text is None:
            return None, True
        try:
            content = json.loads(text)
        except ValueError:  # storage that does not replace files whole
            return None, False
        return (content, False) if "holder" in content else (None, False)


def _other(content: dict[str, str] | None, holder: str) -> bool:
    return content is not None and content["holder"] != holder
