"""Ends a trial whose supervisor is gone: a killed tune run leaves no training process behind.

The watch is kept by a small process beside the one that trains. A thread of that process would
wait for the interpreter's lock, and a regular expression that never ends does not give it back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

INTERVAL_SECONDS = 0.5
SUPERVISOR_VARIABLE = "AUTOPIPE_SUPERVISOR"  # "<pid>:<start time>" of the supervising process


def supervisor_token() -> str:
    """Names this process so that its children can tell whether it still lives."""
    return _token(os.getpid())


def is_alive(token: str) -> bool:
    """True if the process that ``supervisor_token`` named still runs on this machine."""
    pid, _, started = token.partition(":")
    return pid.isdigit() and _start_time(int(pid)) == started


def end_with_supervisor() -> None:
    """Has this process's group killed when the supervisor named in the environment is gone.

    So too without the launcher in between: no signal would reach a process that a distributed
    launcher gave a session of its own. The start time is compared too, since process ids are
    reused. Started by hand, with no supervisor named, nothing is watched.
    """
    from trials.io.imports import child_environment  # the watcher itself needs nothing of ours

    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if not supervisor:
        return
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpgrp())]
    global _watcher
    _watcher = subprocess.Popen(
        [*command, _token(os.getpid()), supervisor, _token(os.getppid())],
        env={k: v for k, v in child_environment().items() if k != SUPERVISOR_VARIABLE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # else it would be killed with the group before it is done
    )


# Kept, for a process object that is collected while its process runs warns of it.
_watcher: subprocess.Popen[bytes] | None = None


def _watch(group: int, watched: str, *needed: str) -> None:
    """Waits for the end of any process that is needed; then kills what is watched."""
    while is_alive(watched):
        if not all(map(is_alive, needed)):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            with suppress(ProcessLookupError):  # should it have left the group
                if is_alive(watched):
                    os.kill(int(watched.partition(":")[0]), signal.SIGKILL)
            return
        time.sleep(INTERVAL_SECONDS)


def _token(pid: int) -> str:
    return f"{pid}:{_start_time(pid)}"


def _start_time(pid: int) -> str | None:
    """The start time of a process, as text that never changes; None if it is gone or a zombie.

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
    import psutil  # not needed where there is /proc

    try:
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return None if zombie else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None


if __name__ == "__main__":
    _watch(int(sys.argv[1]), *sys.argv[2:])
