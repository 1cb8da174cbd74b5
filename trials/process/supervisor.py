"""The supervisor: hands trials and measurements to warm workers, watches them, always answers.

Whatever happens to a worker, every trial gets a ``TrialResult``; a worker that crashed or hung is
ended with all that it started, and the next job gets a new one.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from trials.checkpoints.registry import clear_leftovers, last_checkpoint
from trials.evaluation.measurement import clear_measurement, is_finished
from trials.io.errors import AutoPipeError, SettingsError
from trials.io.redact import redact_file
from trials.outcomes.failures import disk_is_full, exit_failure
from trials.outcomes.outcome import overrun, trial_result
from trials.process.following import Following
from trials.process.launch import Launcher
from trials.process.warm import LOG, WarmWorker
from trials.scoring.reward_watch import clear_notes
from trials.spec.events import Event, read_events
from trials.spec.kinds import TRANSIENT_KINDS, FailureKind
from trials.spec.records import (
    Failure,
    Limits,
    ProbeRequest,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)

OnEvent = Callable[[TrialSpec, Event], None]
POLL_SECONDS = 0.02
# Kinds of failure that leave a single process in good order; after others it is replaced.
HARMLESS_KINDS = frozenset(
    {FailureKind.DIVERGED, FailureKind.BAD_DATA, FailureKind.BAD_CONFIG, FailureKind.REWARD_FAILED}
)


class Cancelled(Exception):
    """The supervisor was told to stop; unfinished trials have no result."""


class MeasurementFailed(AutoPipeError):
    """A measurement has neither an answer nor a refusal; ``failure`` says why."""

    def __init__(self, failure: Failure):
        super().__init__(f"{failure.kind}: {failure.message}\n{failure.log_tail}".rstrip())
        self.failure = failure


class Supervisor:
    """Runs trials, as many at a time as there are launchers; close it to end its workers.

    Args:
        launchers: one for each trial that may run at the same time, with its devices and threads.
        on_event: called with every event of every trial, from the thread that waits.
        trials_per_worker: after so many a worker is replaced; 1 starts every trial cold.
        beside: folder in which the workers have their inboxes; None: beside the first job of each.

    Attributes:
        cancel: set it to end what is running; ``run`` then raises ``Cancelled``.
    """

    def __init__(
        self,
        launchers: Launcher | Sequence[Launcher],
        on_event: OnEvent | None = None,
        trials_per_worker: int = 50,
        beside: Path | None = None,
    ):
        launchers = [launchers] if isinstance(launchers, Launcher) else list(launchers)
        self.on_event = on_event
        self.cancel = threading.Event()
        self._trials_per_worker = trials_per_worker
        # The worker used last is used next: one trial at a time needs one warm worker only.
        self._idle: queue.LifoQueue[WarmWorker] = queue.LifoQueue()
        self._workers = [WarmWorker(launcher, beside) for launcher in launchers]
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

    def warm_up(self) -> None:
        """Starts the worker that the next job gets, for its imports take seconds.

        Only where ``beside`` says where its inbox is.
        """
        worker = self._free_worker("warm-up")
        try:
            worker.start()
        finally:
            self._idle.put(worker)

    def run(self, spec: TrialSpec) -> TrialResult:
        """Runs one trial to its end; never raises for what happens inside the trial.

        A trial that has a result already is not run again, and one that was interrupted goes on
        from its own last checkpoint.

        Raises:
            Cancelled: when ``cancel`` was set.
            SettingsError: when the folder holds another trial than the spec's.
        """
        _check_folder(spec)
        if _result_file(spec).exists():
            return read_record(_result_file(spec), TrialResult)
        try:
            return self._run_in_worker(spec)
        finally:  # cancelled, too: by then its process is gone
            redact_file(Path(spec.folder) / LOG)

    def measure(
        self, request_file: Path, limits: Limits, on_event: Callable[[Event], None] | None = None
    ) -> None:
        """Has a worker answer a ``ProbeRequest``; the answer lies in the request's folder then.

        Raises:
            Cancelled: when ``cancel`` was set.
            MeasurementFailed: there is neither an answer nor a refusal, and why.
        """
        folder = request_file.parent
        request = read_record(request_file, ProbeRequest)
        clear_measurement(folder)
        clear_notes(folder)
        following = Following(folder, limits, on_event or (lambda event: None))
        done, alone = partial(is_finished, folder), request.allow_user_code
        try:
            failure = self._in_worker(request_file, done, following, alone)
        finally:
            redact_file(folder / LOG)
        if failure := failure or _reported_failure(folder):
            raise MeasurementFailed(failure)

    def _run_in_worker(self, spec: TrialSpec) -> TrialResult:
        folder = Path(spec.folder)
        told = partial(self.on_event, spec) if self.on_event else lambda event: None
        following = Following(folder, spec.limits, told)
        # Modules of the user's may keep a state of their own from one trial to the next, and
        # nothing takes down the engine that vLLM has on the GPU.
        failure = self._in_worker(
            folder / "spec.json",
            _result_file(spec).exists,
            following,
            alone=spec.allow_user_code or spec.compute.vllm,
            prepare=partial(_claim_folder, spec),
        )
        # By now its worker is gone; it may have got to its end at the last moment.
        if failure is None or _result_file(spec).exists():
            return read_record(_result_file(spec), TrialResult)
        return _unfinished(spec, failure, following.seconds)

    def _in_worker(
        self,
        file: Path,
        done: Callable[[], bool],
        following: Following,
        alone: bool = False,
        prepare: Callable[[], None] = lambda: None,
    ) -> Failure | None:
        """Gives one job to a free worker and waits; says why it is not done, if it is not.

        No other job shares the process with one that runs ``alone``. ``prepare`` is called when
        there is a worker, before the job is given to it.
        """
        worker = self._free_worker(file.parent.name)
        try:
            prepare()
            worker.submit(file)
            failure = self._watch(worker, file.parent, done, following)
            harmless = failure is None and _ended_harmlessly(file.parent)
            if harmless and (worker.served >= self._trials_per_worker or alone):
                worker.close()
            elif not harmless:
                worker.kill()
            return failure
        except BaseException:
            worker.kill()
            raise
        finally:
            self._idle.put(worker)

    def _free_worker(self, name: str) -> WarmWorker:
        while not self.cancel.is_set():
            try:
                return self._idle.get(timeout=0.1)
            except queue.Empty:
                continue
        raise Cancelled(name)

    def _watch(
        self, worker: WarmWorker, folder: Path, done: Callable[[], bool], following: Following
    ) -> Failure | None:
        """Waits for a job; says why it is not done, if it is not."""
        while True:
            if self.cancel.is_set():
                raise Cancelled(folder.name)
            exited = worker.exit_code()
            following.read()
            if done():
                return None
            if exited is not None:
                if self.cancel.is_set():  # then it was ended by us, and is no failure
                    raise Cancelled(folder.name)
                # A process of several that failed left its reason before it ended the others.
                if reported := _reported_failure(folder):
                    return reported
                kind, message = exit_failure(exited, worker.tail(), worker.oom_killed(), folder)
                return Failure(kind=kind, message=message, log_tail=worker.tail())
            if problem := following.overdue():
                return Failure(kind=problem[0], message=problem[1], log_tail=worker.tail())
            time.sleep(POLL_SECONDS)


def _unfinished(spec: TrialSpec, failure: Failure, seconds: float) -> TrialResult:
    """The result of a trial whose worker was ended, on disk.

    One that was ended for want of time is stopped where it was scored last, and keeps what it
    saved: it can resume from there.
    """
    folder = Path(spec.folder)
    events = list(read_events(folder / "events.jsonl"))
    limit, timed_out = spec.limits.wall_seconds, failure.kind == FailureKind.TIMED_OUT
    result = overrun(spec, events, seconds, limit) if timed_out and limit is not None else None
    if result is None:
        result = trial_result(spec, events, seconds, failure=failure)
        result = result.model_copy(update={"fraction": 0.0, "signals": {}})
    if (failure.kind not in TRANSIENT_KINDS and not timed_out) or disk_is_full(folder):
        # On a full disk this makes room for the result.
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    with suppress(OSError):
        # Where nothing can be written, who waits is told, and the trial will be run again.
        write_json(_result_file(spec), result)
    return result


def _ended_harmlessly(folder: Path) -> bool:
    """True if a job left its process in good order."""
    file = folder / "result.json"
    failure = read_record(file, TrialResult).failure if file.exists() else _reported_failure(folder)
    return failure is None or failure.kind in HARMLESS_KINDS


def _check_folder(spec: TrialSpec) -> None:
    """Refuses a folder of another trial; limits may differ from an earlier try."""
    file = Path(spec.folder) / "spec.json"
    if file.exists() and read_record(file, TrialSpec).identity() != spec.identity():
        raise SettingsError(
            f"{spec.folder} holds a trial with other settings; choose another run folder, "
            "or repeat the command with the settings of the first time"
        )


def _claim_folder(spec: TrialSpec) -> None:
    """Clears what an interrupted attempt left, all but a checkpoint to resume from."""
    folder = Path(spec.folder)
    (folder / "events.jsonl").unlink(missing_ok=True)  # it is followed from now on
    if last_checkpoint(folder) is None:  # else the trial finds it and resumes from there
        clear_leftovers(folder)
    for file in folder.glob("failure.*.json"):
        file.unlink()
    clear_notes(folder)
    write_json(folder / "spec.json", spec)


def _result_file(spec: TrialSpec) -> Path:
    return Path(spec.folder) / "result.json"


def _reported_failure(folder: Path) -> Failure | None:
    """The failure written by the first of several processes that failed."""
    files = sorted(folder.glob("failure.*.json"), key=lambda file: file.stat().st_mtime)
    return read_record(files[0], Failure) if files else None
