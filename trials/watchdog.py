"""Ends a trial whose supervisor is gone: a killed tune run leaves no training process behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil

SUPERVISOR_VARIABLE = "AUTOPIPE_SUPERVISOR"  # "<pid>:<start time>" of the supervising process


def supervisor_token() -> str:
    """Names this process so that its children can tell whether it still lives."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def is_alive(token: str) -> bool:
    """Whether the process that ``supervisor_token`` named is still there, on this machine."""
    pid, _, started = token.partition(":")
    return pid.isdigit() and _start_time(int(pid)) == started


def end_with_supervisor(interval_seconds: float = 0.5) -> None:
    """Watches the supervisor named in the environment; kills the own process group without it.

    So too without the launcher in between: no signal would reach a process that a distributed
    launcher gave a session of its own. The start time is compared too, since process ids are
    reused. Started by hand, with no supervisor named, nothing is watched.
    """
    token = os.environ.get(SUPERVISOR_VARIABLE)
    if not token:
        return
    threading.Thread(target=_watch, args=(token, interval_seconds), daemon=True).start()


def _watch(token: str, interval_seconds: float) -> None:
    launcher = os.getppid()
    while is_alive(token) and os.getppid() == launcher:
        time.sleep(interval_seconds)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _start_time(pid: int) -> str | None:
    """When a process started, as text that never changes; None when it is gone or a zombie.

    Linux counts in ticks since the machine started. Any time of day would move with the clock, and
    setting the clock must not end trials.
    """
    try:
        # The name, in parentheses, may hold spaces; after it come the state and 18 more fields.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return None if zombie else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None
