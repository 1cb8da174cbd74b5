"""The execution backend that the settings name, and how trials are submitted to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.config.settings import TuneSettings
from tasks.execution.base import DASK, HERE, TRIALS, WORKERS, TrialRunner
from tasks.execution.devices import core_share, gpus_of_trial
from tasks.execution.event_follower import EventFollower
from tasks.execution.gpus import Tell, measuring_launcher
from tasks.execution.prefect_workers import DeploymentRunner
from tasks.execution.remote import RemoteRunner
from tasks.execution.trial import run_trial
from tasks.runs.folder import RunFolder
from tasks.sync.lease import Lease
from tasks.sync.store import StoredFolder, open_store
from trials.io.errors import SettingsError
from trials.process.launch import Launcher
from trials.process.supervisor import OnEvent, Supervisor
from trials.spec.records import TrialResult, TrialSpec

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class ExecutionBackend:
    """Runs the trials of one run.

    Attributes:
        runner: runs a trial.
        task_runner: runs the tasks that wait for them.
        retries: further attempts at a trial that crashed.
        follower: reads the events of trials that this process does not see otherwise.
    """

    runner: TrialRunner
    task_runner: TaskRunner[Any]
    retries: int
    follower: EventFollower | None = None

    def warm_up(self) -> None:
        """Starts a worker, where trials run on this machine: the first job needs it."""
        if isinstance(self.runner, Supervisor):
            self.runner.warm_up()

    def submit(self, spec: TrialSpec) -> PrefectFuture[TrialResult]:
        """``run_trial`` as a task of the flow at hand."""
        if self.follower is not None:
            self.follower.follow(spec)
        task = run_trial.with_options(retries=self.retries)
        parameters = {"spec": spec, "runner": self.runner, "retries": self.retries}
        return self.task_runner.submit(task, parameters)


@contextmanager
def open_measurer(
    backend: ExecutionBackend, settings: TuneSettings, tell: Tell
) -> Iterator[Supervisor]:
    """Who measures models outside of trials: the workers of trials on this machine, else its own.

    Args:
        backend: of the run's trials.
        settings: of the run.
        tell: is told when other processes have to be waited for.
    """
    if isinstance(backend.runner, Supervisor):
        yield backend.runner
        return
    with measuring_launcher(settings.threads, tell) as launcher, Supervisor(launcher) as measurer:
        yield measurer


@contextmanager
def open_backend(
    settings: TuneSettings, run: RunFolder, launchers: Sequence[Launcher], on_event: OnEvent
) -> Iterator[ExecutionBackend]:
    """Opens the backend of a run; whatever ends the run, no trial outlives this context.

    Args:
        settings: of the run.
        run: its folder; other machines must see it where they see it under the same path.
        launchers: for trials on this machine, one for each at a time.
        on_event: told of the events of every trial.

    Raises:
        SettingsError: what the backend needs is not there.
    """
    # Task runners wait for their tasks when they are left, so they are left last.
    if settings.trials_on == HERE:
        warm = settings.trials_per_worker
        with (
            thread_runner(settings.parallel) as tasks,
            Supervisor(launchers, on_event, None, warm, run.path / TRIALS) as here,
        ):
            yield ExecutionBackend(here, tasks, settings.retries)
        return
    threads_each = settings.threads
    if settings.trials_on == DASK and threads_each is None:
        # All processes of the cluster are on this machine.
        named = gpus_of_trial(settings.accelerate_config, settings.gpus_per_trial)
        threads_each = core_share(settings.parallel * (named or 1))
    runner = RemoteRunner(
        threads=threads_each,
        gpus_per_trial=settings.gpus_per_trial,
        accelerate_config=settings.accelerate_config,
        trials_per_worker=settings.trials_per_worker,
        store=settings.store,
    )
    if settings.trials_on == WORKERS:
        runs: TrialRunner
        location = (
            StoredFolder(open_store(settings.store), run.run_id) if settings.store else run.path
        )
        with (
            thread_runner(settings.parallel) as tasks,
            EventFollower(on_event) as follower,
            Lease(location),
            closing(DeploymentRunner(runner)) as runs,
        ):
            yield ExecutionBackend(runs, tasks, settings.retries, follower)
        return
    with _dask(settings) as tasks, EventFollower(on_event) as follower, Lease(run.path):
        yield ExecutionBackend(runner, tasks, settings.retries, follower)


def thread_runner(count: int) -> TaskRunner[Any]:
    """Threads of this process, each waiting for one trial at a time."""
    return ThreadPoolTaskRunner(max_workers=count)


def check_backend(settings: TuneSettings) -> None:
    """Looks whether trials can be run where the settings say, before anything is spent.

    Raises:
        SettingsError: a server, a package or a cluster is not there.
    """
    if settings.trials_on == WORKERS and not PREFECT_API_URL.value():
        raise SettingsError(
            "trials on workers need a Prefect server that all of them talk to\n"
            "  start one with: autopipe ui\n"
            "  then set PREFECT_API_URL, as it says, here and for the workers"
        )
    if settings.trials_on not in (HERE, WORKERS):
        _check_dask(settings.trials_on)


def _check_dask(where: str) -> None:
    # A cluster that is closed in mid-trial has much to say; a trial's result says what befell it.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    if find_spec("prefect_dask") is None:
        raise SettingsError(
            "trials on Dask need the package prefect-dask\n"
            "  install it with: pip install 'autopipe[dask]'"
        )
    if where == DASK:
        return
    from distributed import Client

    try:
        Client(where, timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no Dask scheduler answers at {where}: {error}\n"
            "  start one with: dask scheduler; or let AutoPipe start a cluster: --trials-on dask"
        ) from None


@contextmanager
def _dask(settings: TuneSettings) -> Iterator[TaskRunner[Any]]:
    """A local cluster with one process a trial, or the cluster at an address."""
    from prefect_dask import DaskTaskRunner

    if settings.trials_on != DASK:
        with DaskTaskRunner(address=settings.trials_on) as tasks:
            yield tasks
        return
    cluster = {
        "n_workers": settings.parallel,
        "threads_per_worker": 1,
        "dashboard_address": None,
    }
    with DaskTaskRunner(cluster_kwargs=cluster) as tasks:
        yield tasks
