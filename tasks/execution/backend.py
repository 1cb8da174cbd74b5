"""The execution backend that the settings name, and how trials are submitted to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
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
from tasks.execution.gpus import OnWait, measuring_launcher
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
        task_runner: runs the Prefect tasks that wait for trials.
        retries: further attempts at a trial that crashed.
        follower: reads the events of trials whose events this process does not see otherwise.
    """

    runner: TrialRunner
    task_runner: TaskRunner[Any]
    retries: int
    follower: EventFollower | None = None

    def warm_up(self) -> None:
        """Starts a worker, if trials run on this machine: the first job needs it."""
        if isinstance(self.runner, Supervisor):
            self.runner.warm_up()

    def submit(self, spec: TrialSpec) -> PrefectFuture[TrialResult]:
        """Submits ``run_trial`` as a task of the current flow."""
        if self.follower is not None:
            self.follower.follow(spec)
        parameters = {"spec": spec, "runner": self.runner, "retries": self.retries}
        return self.task_runner.submit(run_trial.with_options(retries=self.retries), parameters)


@contextmanager
def open_measurer(
    backend: ExecutionBackend, settings: TuneSettings, on_wait: OnWait
) -> Iterator[Supervisor]:
    """The supervisor that measures models outside of trials: the backend's if it is local."""
    if isinstance(backend.runner, Supervisor):
        yield backend.runner
    else:
        with measuring_launcher(settings.threads, on_wait) as launcher, Supervisor(launcher) as own:
            yield own


@contextmanager
def open_backend(
    settings: TuneSettings, run: RunFolder, launchers: Sequence[Launcher], on_event: OnEvent
) -> Iterator[ExecutionBackend]:
    """Opens the backend of a run; whatever ends the run, no trial outlives this context.

    Other machines must see the run's folder under the same path, unless it is in a store. The
    launchers are for trials on this machine, one for each at a time.

    Raises:
        SettingsError: what the backend needs is not there.
    """
    runner: TrialRunner
    with ExitStack() as stack:
        # A task runner waits for its tasks when it is closed, so it is closed last.
        task_runner = stack.enter_context(_task_runner(settings))
        if settings.trials_on == HERE:
            warm = settings.trials_per_worker
            here = Supervisor(launchers, on_event, warm, run.path / TRIALS)
            yield ExecutionBackend(stack.enter_context(here), task_runner, settings.retries)
            return
        follower = stack.enter_context(EventFollower(on_event))
        store = open_store(settings.store) if settings.store else None
        stack.enter_context(Lease(StoredFolder(store, run.run_id) if store else run.path))
        runner = _remote_runner(settings)
        if settings.trials_on == WORKERS:
            runner = stack.enter_context(closing(DeploymentRunner(runner)))
        yield ExecutionBackend(runner, task_runner, settings.retries, follower)


def _remote_runner(settings: TuneSettings) -> RemoteRunner:
    threads = settings.threads
    if settings.trials_on == DASK and threads is None:
        # All processes of the cluster are on this machine.
        gpus = gpus_of_trial(settings.accelerate_config, settings.gpus_per_trial)
        threads = core_share(settings.parallel * (gpus or 1))
    return RemoteRunner(
        threads=threads,
        gpus_per_trial=settings.gpus_per_trial,
        accelerate_config=settings.accelerate_config,
        trials_per_worker=settings.trials_per_worker,
        store=settings.store,
    )


def _task_runner(settings: TuneSettings) -> TaskRunner[Any]:
    """Threads that each wait for one trial, a local Dask cluster, or the one at an address."""
    if settings.trials_on in (HERE, WORKERS):
        return ThreadPoolTaskRunner(max_workers=settings.parallel)
    from prefect_dask import DaskTaskRunner

    if settings.trials_on != DASK:
        return DaskTaskRunner(address=settings.trials_on)
    cluster = {"n_workers": settings.parallel, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def check_backend(settings: TuneSettings) -> None:
    """Checks that trials can run as the settings say; a SettingsError for what is not there."""
    if settings.trials_on == WORKERS and not PREFECT_API_URL.value():
        raise SettingsError(
            "trials on workers need a Prefect server that all of them talk to\n"
            "  start one with: autopipe ui\n"
            "  then set PREFECT_API_URL, as it says, here and for the workers"
        )
    if settings.trials_on not in (HERE, WORKERS):
        _check_dask(settings.trials_on)


def _check_dask(address: str) -> None:
    # A cluster that is closed in mid-trial logs a lot; the trial's result says what happened.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    if find_spec("prefect_dask") is None:
        raise SettingsError(
            "trials on Dask need prefect-dask\n  install it with: pip install 'autopipe[dask]'"
        )
    if address == DASK:
        return
    from distributed import Client

    try:
        Client(address, timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no Dask scheduler answers at {address}: {error}\n"
            "  start one with: dask scheduler; or let AutoPipe start a cluster: --trials-on dask"
        ) from None
