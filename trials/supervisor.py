"""The supervisor: hands trials to warm workers, watches them, and always answers.

Whatever happens to a worker, every trial gets a ``TrialResult``; a worker that crashed or hung is
ended with all that it started, and the next trial gets a new one.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trials.errors import SettingsError
from trials.events import Event, curve, read_events, read_new_events
from trials.failures import disk_is_full, exit_failure
from trials.launch import Launcher
from trials.leftovers import clear_leftovers, last_checkpoint
from trials.provenance import provenance
from trials.records import (
    TRANSIENT_KINDS,
    Cost,
    Failure,
    FailureKind,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)
from trials.redact import redact_file
from trials.warm import WarmWorker

OnEvent = Callable[[TrialSpec, Event], None]
OnResult = Callable[[TrialSpec, TrialResult], None]
POLL_SECONDS = 0.02
# A trial stops itself at its wall-clock limit; the supervisor only acts when it does not.
WALL_GRACE_SECONDS = 60.0
# Kinds of failure that leave a single process in good order; after others it is replaced.
HARMLESS_KINDS = frozenset({"diverged", "bad_data", "bad_config", "reward_failed"})


class Cancelled(Exception):
    """The supervisor was told to stop; unfinished trials have no result."""


class Supervisor:
    """Runs trials, as many at a time as there are launchers; close it to end its workers.

    Args:
        launchers: one for each trial that may run at the same time, with its devices and threads.
        on_event: called with every event of every trial, from the thread that waits.
        on_result: called with every result, as soon as it is there.
        trials_per_worker: after so many a worker is replaced; 1 starts every trial cold.

    Attributes:
        cancel: set it to end what is running; ``run`` then raises ``Cancelled``.
    """

    def __init__(
        self,
        launchers: Launcher | Sequence[Launcher],
        on_event: OnEvent | None = None,
        on_result: OnResult | None = None,
        trials_per_worker: int = 50,
    ):
        launchers = [launchers] if isinstance(launchers, Launcher) else list(launchers)
        self.on_event, self.on_result = on_event, on_result
        self.cancel = threading.Event()
        self._trials_per_worker = trials_per_worker
        # The worker used last is used next: one trial at a time needs one warm worker only.
        self._idle: queue.LifoQueue[WarmWorker] = queue.LifoQueue()
        self._workers = [WarmWorker(launcher) for launcher in launchers]
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what is running and ends all workers; none outlives this call."""
        self.cancel.set()
        for worker in self._workers:
            worker.kill()

    def run(self, spec: TrialSpec) -> TrialResult:
        """Runs one trial to its end; never raises for what happens inside the trial.

        A trial that has a result already is not run again, and one that was interrupted goes on
        from its own last checkpoint.

        Raises:
            Cancelled: when ``cancel`` was set.
            SettingsError: when the folder holds another trial than the spec's.
        """
        _check_folder(spec)
        result = _read_result(spec)
        if result is None:
            try:
                result = self._run_in_worker(spec)
            finally:  # cancelled, too: by then its process is gone
                redact_file(Path(spec.folder) / "log.txt")
        if self.on_result:
            self.on_result(spec, result)
        return result

    def _run_in_worker(self, spec: TrialSpec) -> TrialResult:
        worker = self._free_worker(spec)
        try:
            _claim_folder(spec)
            worker.submit(Path(spec.folder) / "spec.json")
            result = self._watch(worker, spec)
            # Modules of the user's may keep a state of their own from one trial to the next, and
            # nothing takes down the engine that vLLM has on the GPU.
            alone = spec.allow_user_code or spec.compute.vllm
            if worker.served >= self._trials_per_worker or alone:
                worker.close()
            elif result.failure and result.failure.kind not in HARMLESS_KINDS:
                worker.kill()
            return result
        except BaseException:
            worker.kill()
            raise
        finally:
            self._idle.put(worker)

    def _free_worker(self, spec: TrialSpec) -> WarmWorker:
        while not self.cancel.is_set():
            try:
                return self._idle.get(timeout=0.1)
            except queue.Empty:
                continue
        raise Cancelled(spec.trial_id)

    def _watch(self, worker: WarmWorker, spec: TrialSpec) -> TrialResult:
        """Returns the trial's own result, or one that says why there is none."""
        progress = _Progress(spec, self.on_event)
        while True:
            if self.cancel.is_set():
                raise Cancelled(spec.trial_id)
            exited = worker.exit_code()
            progress.read()
            if result := _read_result(spec):
                return result
            if exited is not None:
                if self.cancel.is_set():  # then it was ended by us, and is no failure
                    raise Cancelled(spec.trial_id)
                # A process of several that failed left its reason before it ended the others.
                failure = _reported_failure(spec) or exit_failure(
                    exited, worker.tail(), worker.oom_killed(), Path(spec.folder)
                )
                return self._failed(worker, spec, failure, progress.seconds)
            if problem := progress.overdue():
                return self._failed(worker, spec, problem, progress.seconds)
            time.sleep(POLL_SECONDS)

    def _failed(
        self,
        worker: WarmWorker,
        spec: TrialSpec,
        failure: Failure | tuple[FailureKind, str],
        seconds: float,
    ) -> TrialResult:
        if not isinstance(failure, Failure):
            kind, message = failure
            failure = Failure(kind=kind, message=message, log_tail=worker.tail())
        worker.kill()
        folder = Path(spec.folder)
        events = list(read_events(folder / "events.jsonl"))
        result = TrialResult(
            trial_id=spec.trial_id,
            state="failed",
            fraction=0.0,
            curve=curve(events),
            cost=Cost(seconds=seconds),
            failure=failure,
            provenance=provenance(spec),
        )
        if failure.kind not in TRANSIENT_KINDS or disk_is_full(folder):
            # On a full disk this makes room for the result.
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        try:
            write_json(_result_file(spec), result)
        except OSError:
            # Nothing at all can be written; who waits is told, and the trial will be run again.
            return result
        return result


def _check_folder(spec: TrialSpec) -> None:
    """Refuses a folder of another trial; limits may differ from an earlier try."""
    file = Path(spec.folder) / "spec.json"
    if file.exists() and read_record(file, TrialSpec).identity() != spec.identity():
        raise SettingsError(
            f"{spec.folder} holds a trial with other settings; choose another run folder, "
            "or repeat the command with the settings of the first time"
        )


def _claim_folder(spec: TrialSpec) -> None:
    """Clears what an interrupted attempt left, all but a checkpoint to go on from."""
    folder = Path(spec.folder)
    (folder / "events.jsonl").unlink(missing_ok=True)  # it is followed from now on
    if last_checkpoint(folder) is None:  # else the trial finds it and goes on from there
        clear_leftovers(folder)
    for file in folder.glob("failure.*.json"):
        file.unlink()
    write_json(folder / "spec.json", spec)


class _Progress:
    """Follows the events of one trial and knows when it is overdue."""

    def __init__(self, spec: TrialSpec, on_event: OnEvent | None):
        self._spec, self._on_event = spec, on_event
        self._file = Path(spec.folder) / "events.jsonl"
        self._offset = 0
        self._start = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def read(self) -> None:
        events, self._offset = read_new_events(self._file, self._offset)
        if events:
            self._last = time.monotonic()
        for event in events:
            if self._on_event:
                self._on_event(self._spec, event)

    def overdue(self) -> tuple[FailureKind, str] | None:
        limits = self._spec.limits
        silent = time.monotonic() - self._last
        if silent > limits.silent_seconds:
            return "hung", f"no event for {silent:.0f} s (the limit is --silent-after)"
        if limits.wall_seconds and self.seconds > limits.wall_seconds + WALL_GRACE_SECONDS:
            return "timed_out", f"still running {WALL_GRACE_SECONDS:.0f} s after its limit"
        return None


def _result_file(spec: TrialSpec) -> Path:
    return Path(spec.folder) / "result.json"


def _read_result(spec: TrialSpec) -> TrialResult | None:
    file = _result_file(spec)
    return read_record(file, TrialResult) if file.exists() else None


def _reported_failure(spec: TrialSpec) -> Failure | None:
    """What the first process of several that failed wrote before it ended."""
    files = sorted(Path(spec.folder).glob("failure.*.json"), key=lambda file: file.stat().st_mtime)
    return read_record(files[0], Failure) if files else None
