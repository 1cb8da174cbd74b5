"""The start of the work for a run: before its flow, a command starts, and perhaps a server."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import psutil

from tasks.config.settings import Budget
from trials.io.errors import SettingsError

# What starting, measuring and ending the smallest run takes on an idle machine.
LEAST_SECONDS = 50.0

_began: ContextVar[float | None] = ContextVar("began", default=None)


@contextmanager
def counted_from_start() -> Iterator[None]:
    """Time budgets of flows in this context count from the start of this process."""
    token = _began.set(time.monotonic() - (time.time() - psutil.Process().create_time()))
    try:
        yield
    finally:
        _began.reset(token)


def seconds_before() -> float:
    """Seconds from the start of the command to now; 0 where no command was started for this."""
    began = _began.get()
    return 0.0 if began is None else max(0.0, time.monotonic() - began)


def check_time(budget: Budget | None, in_trials: bool = True) -> None:
    """Refuses a time budget in which nothing can be done, before anything is started.

    Args:
        budget: that was given, if one was.
        in_trials: whether the run may have a budget in trials: one with proxies may not.

    Raises:
        SettingsError: it is shorter than starting and ending a run takes on this machine as it is,
            with a budget that is not.
    """
    if budget is None or budget.unit != "seconds":
        return
    slowness = slowdown()
    needed = LEAST_SECONDS * slowness
    if budget.amount < needed:
        busy = (
            f"; it is busy: everything takes {slowness:.1f} times as long" if slowness > 1.5 else ""
        )
        other = (
            "a number of trials, as --budget 12" if in_trials else "compute, as --budget '6 full'"
        )
        raise SettingsError(
            f"budget: {budget} is too short: starting, measuring and ending a run takes about "
            f"{needed:.0f} s on this machine, whatever the model{busy}\n"
            f"  expected: --budget {math.ceil(2 * needed / 60)}m or more, or {other}"
        )


def slowdown() -> float:
    """The factor by which work takes longer than on an idle machine now; at least 1.

    Two signs have to agree: how long this process waited, which a cold disk may explain, and the
    processes that wait for each core, which may be those of others where cores are set apart.
    """
    process = psutil.Process()
    wall, computing = time.time() - process.create_time(), sum(process.cpu_times()[:2])
    of_machine = os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else of_machine
    return max(1.0, min(wall / max(computing, 0.01), (os.getloadavg()[0] + 1) / cores))
