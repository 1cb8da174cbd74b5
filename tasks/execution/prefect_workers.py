"""Trials as flow runs of their own, on whichever Prefect worker is free."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed, Pending

from tasks.execution.base import (
    EVENTS,
    LOG,
    RESULT,
    SPEC,
    is_retryable,
    result_file,
    run_folder_of,
    stored_name,
)
from tasks.execution.mirror import send_inputs
from tasks.execution.remote import RemoteRunner
from tasks.sync.retry import Outcome, call_with_retries
from tasks.sync.store import Store, open_store
from trials.io.errors import AutoPipeError, SettingsError
from trials.process.supervisor import Cancelled
from trials.spec.records import TrialResult, TrialSpec, read_record, write_json

log = logging.getLogger(__name__)
DEPLOYMENT = "trial/autopipe"
POLL_SECONDS = 1.0
STORE_SECONDS = 5.0
LIVE = (EVENTS, LOG)  # fetched while a trial runs
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
SETTLE_SECONDS = 15.0  # a shared folder may show a result later than the server its end
UNTAKEN_SECONDS = 30.0  # after which a warning says that there is no worker
# A silent trial is ended by its worker, with a result. Without that, the worker is gone: a machine
# that is switched off leaves its flow runs Running.
SILENCE_SECONDS = 120.0


@dataclass
class DeploymentRunner:
    """Hands each trial to a deployment, whose workers run it with the runner, and waits for it.

    The run's folder must have the same path here and for the workers, unless it is in a store.
    """

    runner: RemoteRunner
    deployment: str = DEPLOYMENT
    _cancel: threading.Event = field(default_factory=threading.Event)
    _warned: bool = False

    def run(self, spec: TrialSpec) -> TrialResult:
        """Waits for a worker and for the trial.

        Raises:
            Cancelled: this was closed meanwhile.
            SettingsError: there is no such deployment.
            AutoPipeError: the worker could not run it, for a reason other than the trial.
            StoreError, httpx.HTTPError: storage or server are away for too long.
        """
        file = result_file(spec)
        if file.exists():
            return read_record(file, TrialResult)
        if self._cancel.is_set():
            raise Cancelled(spec.trial_id)
        store = open_store(self.runner.store) if self.runner.store else None
        if store is not None:
            self._retry(lambda: send_inputs(spec, store), "sending what a trial needs")
            # It may have ended while nobody led the run.
            stored = self._retry(lambda: store.text(stored_name(spec), RESULT), "looking for it")
            if stored is not None and (result := self._fetch(spec, store)) is not None:
                return result
        ended = self._wait(self._start(spec), spec, store)
        if store is not None:
            self._fetch(spec, store)
        deadline = time.monotonic() + SETTLE_SECONDS
        while not file.exists() and time.monotonic() < deadline and ended.is_completed():
            time.sleep(0.1)
        if file.exists():
            return read_record(file, TrialResult)
        if self._cancel.is_set():
            raise Cancelled(spec.trial_id)
        raise AutoPipeError(
            f"trial {spec.trial_id} has no result: its flow run ended {ended.name}: "
            f"{ended.message or 'no reason given'}\n"
            "  Look at its log on Prefect's pages, and at its worker; then resume the run"
        )

    def close(self) -> None:
        """Cancels what waits or runs; what runs ends with the lease of the run anyway."""
        self._cancel.set()

    def _start(self, spec: TrialSpec) -> FlowRun:
        name, key = f"{run_folder_of(spec).name} {spec.trial_id}", uuid.uuid4().hex
        self._retry(lambda: _cancel_earlier(name, spec.folder), "looking for earlier attempts")
        parameters = {"spec": spec.model_dump(mode="json"), "runner": asdict(self.runner)}

        def start() -> object:
            return run_deployment(
                self.deployment,
                parameters=parameters,
                flow_run_name=name,
                timeout=0,
                idempotency_key=key,  # asked twice, the server makes one
            )

        try:
            run = self._retry(start, f"starting trial {spec.trial_id}")
        except ObjectNotFound:
            raise SettingsError(
                f"no deployment {self.deployment!r} on the server\n  make it with: autopipe deploy"
            ) from None
        assert isinstance(run, FlowRun)
        return run

    def _wait(self, run: FlowRun, spec: TrialSpec, store: Store | None) -> State[object]:
        """The final state of a flow run; until then its events and its log are fetched."""
        watch = _SilenceWatch(spec)
        while True:
            state = self._retry(lambda: _state_of(run), f"asking for trial {spec.trial_id}")
            if state.is_final():
                return state
            if store is not None:
                with suppress(AutoPipeError):  # it is tried again soon
                    store.pull(stored_name(spec), Path(spec.folder), only=LIVE)
            if state.is_running() and watch.silent():
                self._abandon(run)
                raise AutoPipeError(
                    f"trial {spec.trial_id}: nothing was heard of its worker for "
                    f"{watch.limit:.0f} s\n  Look whether that machine is still there"
                )
            if not state.is_running() and watch.untaken():
                self._warn(run, spec)
            if self._cancel.wait(POLL_SECONDS if store is None else STORE_SECONDS):
                self._abandon(run)
                raise Cancelled(spec.trial_id)

    def _abandon(self, run: FlowRun) -> None:
        # Without its leader the trial ends anyway.
        with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())

    def _warn(self, run: FlowRun, spec: TrialSpec) -> None:
        """Warns once that a trial waits for a worker that nobody has started."""
        if self._warned:
            return
        with suppress(httpx.HTTPError):
            if pool := _pool_without_worker(run):
                self._warned = True
                log.warning(
                    "trial %s waits: no worker of the pool %r is online\n"
                    "  start one with: prefect worker start --pool %s --limit 1",
                    *(spec.trial_id, pool, pool),
                )

    def _fetch(self, spec: TrialSpec, store: Store) -> TrialResult | None:
        """Fetches the trial's folder as its worker left it; returns the result in it."""
        folder = Path(spec.folder)
        # A log keeps its size when secrets are taken out of it.
        self._retry(lambda: store.pull(stored_name(spec), folder, always=LIVE), "fetching a trial")
        write_json(folder / SPEC, spec)
        if not (folder / RESULT).exists():
            return None
        result = read_record(folder / RESULT, TrialResult)
        if is_retryable(result):
            # Whether it counts is decided here; once it does, it is sent back with the run.
            self._retry(lambda: store.remove(stored_name(spec), RESULT), "taking a result")
        return result

    def _retry(self, action: Callable[[], Outcome], description: str) -> Outcome:
        return call_with_retries(action, description, self._cancel)


class _SilenceWatch:
    """For how long nothing new was heard of a trial, and for how long nobody took it."""

    def __init__(self, spec: TrialSpec):
        self.limit = spec.limits.silent_seconds + SILENCE_SECONDS
        self._file = Path(spec.folder) / EVENTS
        self._seen: tuple[int, int] | None = None
        self._start = self._changed = time.monotonic()

    def silent(self) -> bool:
        """Called while the trial runs: its events have not changed for too long."""
        seen = None
        with suppress(OSError):
            state = self._file.stat()
            seen = state.st_size, state.st_mtime_ns
        if seen != self._seen:
            self._seen, self._changed = seen, time.monotonic()
        return time.monotonic() - self._changed > self.limit

    def untaken(self) -> bool:
        """Called while the trial waits: for so long that a worker may be missing."""
        self._changed = time.monotonic()
        return self._changed - self._start > UNTAKEN_SECONDS


def _state_of(run: FlowRun) -> State[object]:
    """The state of a flow run; Crashed when it was removed from the server."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(run.id).state or Pending()
        except ObjectNotFound:
            return Crashed(message="it was removed from the server")


def _cancel_earlier(name: str, folder: str) -> None:
    """Cancels flow runs of a trial that have not ended: their leader is gone or abandoned them.

    One that waits would otherwise begin the trial anew on the next free worker, beside the next.
    The trial's folder distinguishes it: another workspace may have a run of the same name.
    """
    unfinished = filters.FlowRunFilter(
        name=filters.FlowRunFilterName(any_=[name]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=UNFINISHED)),
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished):
            if run.parameters.get("spec", {}).get("folder") == folder:
                client.set_flow_run_state(run.id, Cancelling())


def _pool_without_worker(run: FlowRun) -> str | None:
    """The pool that a flow run waits in, if none of its workers is online."""
    with get_client(sync_client=True) as client:
        pool = client.read_flow_run(run.id).work_pool_name
        if pool is None:
            return None
        workers = client.read_workers_for_work_pool(pool)
        return None if any(one.status == WorkerStatus.ONLINE for one in workers) else pool
