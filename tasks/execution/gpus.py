"""One training job for each GPU: whoever takes one holds its lock, which ends with its process."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.config.settings import TuneSettings
from tasks.execution.base import HERE
from tasks.execution.devices import gpus_of_trial, launchers_for, visible_gpus
from trials.io.errors import SettingsError
from trials.process.launch import Launcher

POLL_SECONDS = 1.0
NO_LIMIT = float("inf")
Tell = Callable[[str], None]


@contextmanager
def reserve_gpus(
    at_least: int, at_most: int | None = None, wait_seconds: float = 0.0, tell: Tell | None = None
) -> Iterator[list[str]]:
    """GPUs of this machine that no other AutoPipe process of this user has, held while in use.

    None on a machine without any, or where none is asked for.

    Args:
        at_least: that are needed.
        at_most: that are taken where more are free; None: no more than are needed.
        wait_seconds: for others to end.
        tell: is told once, when there is something to wait for.

    Raises:
        SettingsError: too few of the GPUs are free even then, or too few are there at all.
    """
    known = visible_gpus() if at_least else []
    if not known:
        yield []
        return
    deadline = time.monotonic() + wait_seconds
    with ExitStack() as held:
        taken = _take(known, at_least, at_most or at_least, held)
        while len(taken) < at_least:
            text = f"{at_least} of the GPUs {', '.join(known)} are needed, {len(taken)} are free"
            if len(known) < at_least or time.monotonic() >= deadline:
                raise SettingsError(
                    f"{text}: no two AutoPipe processes of a user share one\n"
                    "  wait for the others, lower --parallel or --gpus-per-trial, or start workers "
                    "with --limit set to the number of trials that fit this machine"
                )
            if tell is not None:
                tell(f"waiting: {text}")
                tell = None
            # Nothing is held meanwhile: two that wait for each other's share would wait forever.
            held.close()
            time.sleep(POLL_SECONDS)
            taken = _take(known, at_least, at_most or at_least, held)
        yield taken


def _take(known: Sequence[str], at_least: int, at_most: int, held: ExitStack) -> list[str]:
    taken: list[str] = []
    for name in known:
        if len(taken) == max(at_least, at_most):
            break
        lock = FileLock(Path(tempfile.gettempdir()) / _lock_name(name))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        held.callback(lock.release)
        taken.append(name)
    return taken


@contextmanager
def reserve_launchers(
    parallel: int,
    threads: int | None,
    accelerate_config: str | None = None,
    gpus_per_trial: int | None = None,
    tell: Tell | None = None,
) -> Iterator[list[Launcher]]:
    """``launchers_for`` on GPUs that no other AutoPipe process has, held until this is left.

    Args:
        parallel, threads, accelerate_config, gpus_per_trial: as of ``launchers_for``. Where nothing
            says how many GPUs a trial has, the free ones are shared out evenly.
        tell: is told when other processes have to be waited for.

    Raises:
        SettingsError: the machine has too few GPUs.
    """
    launchers_for(parallel, threads, accelerate_config, gpus_per_trial)  # refuses at once
    named = gpus_of_trial(accelerate_config, gpus_per_trial)
    needed = parallel * (1 if named is None else named)
    most = len(visible_gpus()) if named is None else needed
    with reserve_gpus(needed, most, NO_LIMIT, tell) as gpus:
        yield launchers_for(parallel, threads, accelerate_config, gpus_per_trial, gpus)


@contextmanager
def trial_launchers(settings: TuneSettings, tell: Tell) -> Iterator[list[Launcher]]:
    """Of the trials that a run has on this machine by itself; none where others run them."""
    if settings.trials_on != HERE:
        yield []
        return
    config, gpus = settings.accelerate_config, settings.gpus_per_trial
    with reserve_launchers(settings.parallel, settings.threads, config, gpus, tell) as launchers:
        yield launchers


@contextmanager
def measuring_launcher(
    threads: int | None, tell: Tell, launchers: Sequence[Launcher] = ()
) -> Iterator[Launcher]:
    """How models are measured outside of trials: as one of its trials would be, else on one GPU.

    Args:
        threads: CPU threads.
        tell: is told when other processes have to be waited for.
        launchers: of the trials on this machine, which are not running then.
    """
    if launchers:
        yield launchers[0]
        return
    with reserve_gpus(1, wait_seconds=NO_LIMIT, tell=tell) as gpus:
        yield launchers_for(1, threads, gpus=gpus)[0]


def _lock_name(gpu: str) -> str:
    """A file name for a GPU, whatever characters its identifier has."""
    return f"autopipe-{os.getuid()}-gpu-{re.sub(r'[^A-Za-z0-9-]', '-', gpu)}.lock"
