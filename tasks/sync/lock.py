"""One writer at a time: locks on a run folder and on the history.

A lock is a file that the operating system locks (``flock``), so that it is free again the moment
its holder ends, however it ends. Who holds it is written beside it, for people.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.sync.lease import LEADER_FILE, Lease, current_leader
from trials.io.errors import AutoPipeError

LOCK_FILE = ".lock"
OWN = frozenset({LOCK_FILE, f"{LOCK_FILE}.holder.json"})
HISTORY_WAIT_SECONDS = 120.0  # appending takes well under a second
OFFLINE_WAIT_SECONDS = 3600.0  # learning from a long history takes minutes


class Locked(AutoPipeError):
    """Somebody else holds the lock."""


@contextmanager
def locked(folder: Path, what: str, otherwise: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock of a folder.

    Args:
        folder: that is written to; made if it is not there.
        what: is locked, as people call it: ``run gcd-001``.
        otherwise: the end of "It is held by ...;", what to do instead of waiting longer.
        wait_seconds: how long to wait for another holder.

    Raises:
        Locked: another process still holds it then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, timeout=wait_seconds)
    holder = folder / f"{LOCK_FILE}.holder.json"
    try:
        lock.acquire()
    except Timeout:
        raise Locked(f"{what} is in use by {_told(holder)}\n  {otherwise}") from None
    try:
        _tell(holder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def run_lock(folder: Path, records: Sequence[str] = ()) -> Iterator[Callable[[], None]]:
    """Only one process works on a run; one that was refused before it began leaves no folder.

    Three things are looked at, for files are removed and shared folders do not always pass locks
    on: the lock file, a lock on the folder itself, and the leader's sign of life.

    Args:
        folder: of the run.
        records: patterns of names, of which one is there as soon as there is something to go on
            with: a folder that lacked them all, and still does at the end, is removed.

    Yields:
        What does so, for who ends this process without leaving the context.

    Raises:
        Locked: another process works on it, here or on another machine.
    """
    otherwise = "wait for it or end it; a run killed on this machine frees its lock by itself"
    what = f"run {folder.name}"
    with locked(folder, what, otherwise), _folder_itself(folder, what, otherwise):
        if leader := current_leader(folder):
            raise Locked(f"{what} is led by {leader}: see its {LEADER_FILE}\n  {otherwise}")
        new = bool(records) and not _holds(folder, records)

        def tidy() -> None:
            if new and not _holds(folder, records):
                _empty(folder)
            _remove_without_content(folder)

        try:
            with Lease(folder, file=LEADER_FILE):
                yield tidy
        finally:
            tidy()


@contextmanager
def _folder_itself(folder: Path, what: str, otherwise: str) -> Iterator[None]:
    """A lock that lasts when somebody removes the lock file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Locked(
            f"{what} is in use by another process, though its lock file was removed\n  {otherwise}"
        ) from None
    except OSError:  # a network's file system that locks no folders
        pass
    try:
        yield
    finally:
        os.close(handle)


def history_lock(folder: Path) -> AbstractContextManager[None]:
    """Only one process adds to a history."""
    otherwise = (
        "its writers need well under a second: look for one that hangs, then repeat the command"
    )
    return _beside(folder, "the history", otherwise, HISTORY_WAIT_SECONDS)


def offline_lock(folder: Path) -> AbstractContextManager[None]:
    """Only one process makes the offline models of a folder; others wait for it."""
    otherwise = "they are being made again; look for a process that hangs, then repeat the command"
    return _beside(folder, "the offline models", otherwise, OFFLINE_WAIT_SECONDS)


def promotion_lock(folder: Path) -> AbstractContextManager[None]:
    """Only one challenger at a time meets the incumbent."""
    otherwise = "another challenger is being compared with it; repeat the command when that is over"
    return _beside(folder, "the promoted model", otherwise, OFFLINE_WAIT_SECONDS)


def _beside(
    folder: Path, what: str, otherwise: str, wait_seconds: float
) -> AbstractContextManager[None]:
    """A lock that is beside what it locks: the folder's content is data, or is replaced whole."""
    lock = folder.with_name(f".{folder.name}-lock")
    return locked(lock, f"{what} {folder}", otherwise, wait_seconds)


def _holds(folder: Path, names: Sequence[str]) -> bool:
    return any(True for name in names for _ in folder.glob(name))


def _empty(folder: Path) -> None:
    """Removes all that is in a folder but its lock, which is still held."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        elif each.name not in OWN:
            with suppress(OSError):
                each.unlink()


def _remove_without_content(folder: Path) -> None:
    """Removes a folder that has nothing but its lock, which is still held."""
    if folder.exists() and {file.name for file in folder.iterdir()} <= OWN:
        for name in OWN:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody waits for it
            folder.rmdir()


def _tell(holder: Path) -> None:
    content = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(OSError):  # a full disk must not end what holds the lock
        holder.write_text(json.dumps(content), encoding="utf-8")


def _told(holder: Path) -> str:
    try:
        content = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
