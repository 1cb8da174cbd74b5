"""GPUs reserved for one training job each, by a lock that ends with the process that holds it."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.config.settings import TuneSettings
from tasks.execution.base import HERE
from tasks.execution.devices import gpus_of_trial, launchers_for, visible_gpus
from trials.io.errors import SettingsError
from trials.process.launch import Launcher

LOCKS = Path(tempfile.gettempdir())  # one place for all processes of a machine
POLL_SECONDS = 1.0
NO_LIMIT = float("inf")
OnWait = Callable[[str], None]


@contextmanager
def reserve_gpus(
    at_least: int,
    at_most: int | None = None,
    wait_seconds: float = 0.0,
    on_wait: OnWait | None = None,
) -> Iterator[list[str]]:
    """Reserves GPUs of this machine that no other AutoPipe process of this user holds.

    Up to ``at_most`` are taken if more than needed are free; none on a machine without any.
    ``on_wait`` is called once, if others have to be waited for.

    Raises:
        SettingsError: too few GPUs are free even then, or the machine has too few.
    """
    visible = visible_gpus() if at_least else []
    if not visible:
        yield []
        return
    deadline = time.monotonic() + wait_seconds
    with ExitStack() as held:
        while len(taken := _take(visible, max(at_least, at_most or 0), held)) < at_least:
            text = f"{at_least} of the GPUs {', '.join(visible)} are needed, {len(taken)} are free"
            if len(visible) < at_least or time.monotonic() >= deadline:
                raise SettingsError(
                    f"{text}: no two AutoPipe processes of a user share one\n"
                    "  wait for the others, lower --parallel or --gpus-per-trial, or start workers "
                    "with --limit set to the number of trials that fit this machine"
                )
            if on_wait is not None:
                on_wait(f"waiting: {text}")
                on_wait = None
            # Nothing is held meanwhile: two that wait for each other's share would wait forever.
            held.close()
            time.sleep(POLL_SECONDS)
        yield taken


def _take(visible: Sequence[str], at_most: int, held: ExitStack) -> list[str]:
    taken: list[str] = []
    for name in visible:
        if len(taken) == at_most:
            break
        lock_name = f"autopipe-{os.getuid()}-gpu-{re.sub(r'[^A-Za-z0-9-]', '-', name)}.lock"
        lock = FileLock(LOCKS / lock_name, timeout=0)
        try:
            held.enter_context(lock)
        except Timeout:
            continue
        taken.append(name)
    return taken


@contextmanager
def reserve_launchers(
    parallel: int,
    threads: int | None,
    accelerate_config: str | None = None,
    gpus_per_trial: int | None = None,
    on_wait: OnWait | None = None,
) -> Iterator[list[Launcher]]:
    """``launchers_for`` on reserved GPUs.

    If nothing says how many GPUs a trial has, the free ones are shared out evenly.

    Raises:
        SettingsError: the machine has too few GPUs.
    """
    launchers_for(parallel, threads, accelerate_config, gpus_per_trial)  # refuses at once
    count = gpus_of_trial(accelerate_config, gpus_per_trial)
    needed = parallel * (1 if count is None else count)
    most = len(visible_gpus()) if count is None else needed
    with reserve_gpus(needed, most, NO_LIMIT, on_wait) as gpus:
        yield launchers_for(parallel, threads, accelerate_config, gpus_per_trial, gpus)


def trial_launchers(
    settings: TuneSettings, on_wait: OnWait
) -> AbstractContextManager[list[Launcher]]:
    """Launchers of the trials that a run starts on this machine itself; none for other backends."""
    if settings.trials_on != HERE:
        return nullcontext([])
    config, gpus = settings.accelerate_config, settings.gpus_per_trial
    return reserve_launchers(settings.parallel, settings.threads, config, gpus, on_wait)


@contextmanager
def measuring_launcher(threads: int | None, on_wait: OnWait) -> Iterator[Launcher]:
    """A launcher on one GPU, if there is any, that measures models outside of trials."""
    with reserve_gpus(1, wait_seconds=NO_LIMIT, on_wait=on_wait) as gpus:
        yield launchers_for(1, threads, gpus=gpus)[0]
