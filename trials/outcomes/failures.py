"""Causes of failures: from an exception in the trial, or from how its process ended."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trials.io.errors import (
    AutoPipeError,
    DatasetError,
    HyperparameterError,
    ModelError,
    RewardError,
    RewardFailed,
)
from trials.spec.kinds import FailureKind
from trials.spec.records import LOG_TAIL_LINES, Failure
from trials.spec.stopping import Diverged

FULL = {errno.ENOSPC, errno.EDQUOT}
MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "memoryerror")
# Bad luck, though it comes as an exception of the program: what was reached is away for a moment.
PASSING = {
    errno.EAGAIN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.EPIPE,
    errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO,
}  # fmt: skip
# Of libraries that raise a plain RuntimeError, as they begin: PyTorch's of CUDA, NCCL and Gloo.
DEVICE_ERROR = re.compile(
    r"(?i)(cuda|hip|nccl) error\b|\[?\S*/gloo/\S*:\d+\]|gloo\b.*(closed|reset)"
)
DISK_WORDS = ("no space left on device", "disk quota exceeded", "os error 28")
# A disk with less than this left is full, whatever a library makes of the failed write.
FULL_BELOW_BYTES = 1 << 20
FULL_DISK = "the disk is full where {} lies: make space there; what is finished is kept"


def failure_of(error: Exception, folder: Path) -> Failure:
    """The record of an exception that ended a trial whose files are in ``folder``."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    kind = failure_kind(error, folder)
    message = str(error) if isinstance(error, AutoPipeError) else f"{type(error).__name__}: {error}"
    if kind == FailureKind.DISK_FULL:
        message = f"{FULL_DISK.format(folder)} ({message})"
    return Failure(kind=kind, message=message, log_tail="\n".join(lines[-LOG_TAIL_LINES:]))


def failure_kind(error: Exception, folder: Path) -> FailureKind:
    """The kind of failure of an exception, looked up in the whole chain that it was raised from."""
    chain = list(_chain(error))
    text = " ".join(str(link) for link in chain).lower()
    if any(isinstance(link, Diverged) for link in chain):
        return FailureKind.DIVERGED
    if any(isinstance(link, RewardFailed) for link in chain):
        return FailureKind.REWARD_FAILED
    if any(isinstance(link, HyperparameterError) for link in chain):
        return FailureKind.BAD_CONFIG
    if any(isinstance(link, (DatasetError, ModelError, RewardError)) for link in chain):
        return FailureKind.BAD_DATA
    if any(isinstance(link, MemoryError) for link in chain) or _any_in(MEMORY_WORDS, text):
        return FailureKind.OUT_OF_MEMORY
    out_of_space = any(isinstance(link, OSError) and link.errno in FULL for link in chain)
    if out_of_space or _any_in(DISK_WORDS, text) or disk_is_full(folder):
        return FailureKind.DISK_FULL
    # Sampling from logits that are NaN is how a diverged policy shows in generation.
    if "probability tensor contains either" in text:
        return FailureKind.DIVERGED
    return FailureKind.CRASHED if any(map(_is_passing, chain)) else FailureKind.ERROR


def _is_passing(error: BaseException) -> bool:
    """True if a device, a network or another process failed, judging by the exception's type."""
    if isinstance(error, OSError):
        return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in PASSING
    torch = sys.modules.get("torch")  # where it was never imported nothing can have raised its own
    distributed = getattr(torch, "distributed", None)
    own = (getattr(torch, "AcceleratorError", None), getattr(distributed, "DistError", None))
    if isinstance(error, tuple(filter(None, own))):
        return True
    return isinstance(error, RuntimeError) and DEVICE_ERROR.match(str(error)) is not None


def exit_failure(code: int, log: str, oom_killed: bool, folder: Path) -> tuple[FailureKind, str]:
    """Kind and message of a process that ended without leaving a result.

    The exit code of the launcher is negative for a signal. ``log`` is what trial and launcher wrote
    last; meanwhile the kernel may have ``oom_killed`` a process.
    """
    name = _signal_name(code, log)
    text = log.lower()
    if _any_in(MEMORY_WORDS, text) or (name == "SIGKILL" and oom_killed):
        ended = f"the process ended ({name or f'code {code}'})"
        return FailureKind.OUT_OF_MEMORY, f"{ended} for want of memory"
    if _any_in(DISK_WORDS, text) or disk_is_full(folder):
        ended = f"the process ended with {name or f'code {code}'}"
        return FailureKind.DISK_FULL, f"{FULL_DISK.format(folder)} ({ended})"
    if name:
        return FailureKind.KILLED, f"the process was killed by {name}"
    return FailureKind.CRASHED, f"the process ended with code {code} and left no result"


def disk_is_full(folder: Path) -> bool:
    """True if the disk of a folder is full."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < FULL_BELOW_BYTES
    return False


def _signal_name(code: int, log: str) -> str | None:
    """The signal that ended the training process, if one did.

    Launchers outlive it and end with a code of their own; only their words tell which signal it
    was (accelerate: ``died with <Signals.SIGKILL: 9>``, or ``died with unknown signal 35``;
    torchrun: ``Signal 9 (SIGKILL)``).
    """
    if code < 0:
        return name_of_signal(-code)
    found = re.search(
        r"died with <Signals\.SIG\w+: (\d+)>|died with unknown signal (\d+)"
        r"|Signal (\d+) \(\S+\) received",
        log,
    )
    return name_of_signal(int(next(filter(None, found.groups())))) if found else None


def name_of_signal(number: int) -> str:
    """``SIGKILL``, ``SIGRTMIN+1`` of a real-time signal, or the number of one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:  # only the first and the last real-time signal are members
        first, last = (getattr(signal, name, 0) for name in ("SIGRTMIN", "SIGRTMAX"))
        real_time = 0 < first < number <= last
        return f"SIGRTMIN+{number - first}" if real_time else f"signal {number}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _any_in(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)
