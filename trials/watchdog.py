"""Ends a trial whose supervisor is gone: a killed tune run leaves no training process behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

SUPERVISOR_VARIABLE = "AUTOPIPE_SUPERVISOR"  # "<pid>:<start time>" of the supervising process


def supervisor_token() -> str:
    """Names this process so that its children can tell whether it still lives."""
    process = psutil.Process()
    return f"{process.pid}:{process.create_time()}"


def end_with_supervisor(interval_seconds: float = 0.5) -> None:
    """Watches the supervisor named in the environment; kills the own process group without it.

    So too without the launcher in between: no signal would reach a process that a distributed
    launcher gave a session of its own. The start time is compared too, since process ids are
    reused. Started by hand, with no supervisor named, nothing is watched.
    """
    token = os.environ.get(SUPERVISOR_VARIABLE)
    if not token:
        return
    pid, _, created = token.partition(":")
    threading.Thread(
        target=_watch, args=(int(pid), float(created), interval_seconds), daemon=True
    ).start()


def _watch(pid: int, created: float, interval_seconds: float) -> None:
    launcher = os.getppid()
    while _alive(pid, created) and os.getppid() == launcher:
        time.sleep(interval_seconds)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return (
            abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False
