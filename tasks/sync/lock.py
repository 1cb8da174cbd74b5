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
LOCK_FILES = frozenset({LOCK_FILE, f"{LOCK_FILE}.holder.json"})
HISTORY_WAIT_SECONDS = 120.0  # appending takes well under a second
OFFLINE_WAIT_SECONDS = 3600.0  # learning from a long history takes minutes


class Locked(AutoPipeError):
    """Somebody else holds the lock."""


@contextmanager
def locked(folder: Path, name: str, advice: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is not there.

    For people, ``name`` says what is locked, and ``advice`` what to do instead of waiting longer.

    Raises:
        Locked: another process still holds it then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, timeout=wait_seconds)
    holder = folder / f"{LOCK_FILE}.holder.json"
    try:
        lock.acquire()
    except Timeout:
        raise Locked(f"{name} is in use by {_holder_name(holder)}\n  {advice}") from None
    try:
        _write_holder(holder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def run_lock(folder: Path, records: Sequence[str] = ()) -> Iterator[Callable[[], None]]:
    """Lets only one process work on a run; one that is refused before it began leaves no folder.

    Three things are checked, because files get removed and shared folders do not always pass on
    locks: the lock file, a lock on the folder itself, and the leader's heartbeat. A folder that had
    nothing to resume, no file whose name matches ``records``, and has none at the end is removed.

    Yields:
        A function that removes it, for a process that ends without leaving the context.

    Raises:
        Locked: another process works on it, on whichever machine.
    """
    advice = "wait for it or end it; a run killed on this machine frees its lock by itself"
    name = f"run {folder.name}"
    with locked(folder, name, advice), _folder_locked(folder, name, advice):
        if leader := current_leader(folder):
            raise Locked(f"{name} is led by {leader}: see its {LEADER_FILE}\n  {advice}")
        new = bool(records) and not _has_any(folder, records)

        def clean_up() -> None:
            if new and not _has_any(folder, records):
                _empty(folder)
            _remove_without_content(folder)

        try:
            with Lease(folder, file=LEADER_FILE):
                yield clean_up
        finally:
            clean_up()


@contextmanager
def _folder_locked(folder: Path, name: str, advice: str) -> Iterator[None]:
    """A lock that lasts when somebody removes the lock file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                f"{name} is in use by another process, though its lock file was removed\n  {advice}"
            ) from None
        except OSError:  # a network file system that cannot lock folders
            pass
        yield
    finally:
        os.close(handle)


def history_lock(folder: Path) -> AbstractContextManager[None]:
    """Lets only one process add to a history."""
    advice = "its writers need under a second: look for one that hangs, then repeat the command"
    return _lock_beside(folder, "the history", advice, HISTORY_WAIT_SECONDS)


def offline_lock(folder: Path) -> AbstractContextManager[None]:
    """Lets only one process make the offline models of a folder; others wait for it."""
    advice = "they are being made again; look for a process that hangs, then repeat the command"
    return _lock_beside(folder, "the offline models", advice, OFFLINE_WAIT_SECONDS)


def promotion_lock(folder: Path) -> AbstractContextManager[None]:
    """Lets only one challenger at a time meet the incumbent."""
    advice = "another challenger is being compared with it; repeat the command when that is over"
    return _lock_beside(folder, "the promoted model", advice, OFFLINE_WAIT_SECONDS)


def _lock_beside(
    folder: Path, name: str, advice: str, wait_seconds: float
) -> AbstractContextManager[None]:
    """A lock beside what it locks, for folders whose content is data or is replaced whole."""
    lock = folder.with_name(f".{folder.name}-lock")
    return locked(lock, f"{name} {folder}", advice, wait_seconds)


def _has_any(folder: Path, patterns: Sequence[str]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _empty(folder: Path) -> None:
    """Removes everything in a folder except its lock, which is still held."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        elif each.name not in LOCK_FILES:
            with suppress(OSError):
                each.unlink()


def _remove_without_content(folder: Path) -> None:
    """Removes a folder that contains nothing but its lock, which is still held."""
    if folder.exists() and {file.name for file in folder.iterdir()} <= LOCK_FILES:
        for name in LOCK_FILES:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody waits for it
            folder.rmdir()


def _write_holder(file: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
    with suppress(OSError):  # a full disk must not end what holds the lock
        file.write_text(json.dumps(content), encoding="utf-8")


def _holder_name(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
