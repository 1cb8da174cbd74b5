"""A trial on a machine that does not lead its run: under its lease, on GPUs reserved for it."""

from __future__ import annotations

import atexit
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tasks.execution.base import run_folder_of
from tasks.execution.devices import gpus_of_trial, launchers_for
from tasks.execution.gpus import reserve_gpus
from tasks.execution.mirror import mirrored
from tasks.sync.lease import LeaseWatch
from tasks.sync.lock import locked
from tasks.sync.store import StoredFolder
from trials.process.supervisor import Supervisor
from trials.spec.records import TrialResult, TrialSpec

# A trial whose leader was replaced is ended within a lease's time; then its folder is free.
FOLDER_WAIT_SECONDS = 30.0
# A GPU may be another process's for a moment: a probe, or the last trial of another run.
GPU_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class RemoteRunner:
    """Runs trials of a run that another process leads; small, so that it can be sent to workers."""

    threads: int | None = None  # of a trial; None: all cores of the machine
    gpus_per_trial: int | None = None  # None: one, or as many as the Accelerate config asks for
    accelerate_config: str | None = None  # a file that is there under the same path
    trials_per_worker: int = 50  # after so many a warm training process is replaced
    store: str | None = None  # URL; None: this machine sees the folders of runs as they are

    def run(self, spec: TrialSpec) -> TrialResult:
        """Runs one trial on this machine, for a leader on any machine.

        Raises:
            Cancelled: the leader stopped or is gone.
            Locked: another process runs this very trial.
            SettingsError: too few GPUs of this machine are free.
            StoreError: the storage cannot be read or written.
        """
        if self.store is None:
            return self._run(spec, run_folder_of(spec))
        with mirrored(spec, self.store) as (own, run):
            return self._run(own, run)

    def _run(self, spec: TrialSpec, run: Path | StoredFolder) -> TrialResult:
        advice = "it ends by itself when its leader is gone; look for a second run of it"
        with locked(Path(spec.folder), f"trial {spec.trial_id}", advice, FOLDER_WAIT_SECONDS):
            return _supervisors.get(self, run).run(spec)

    def open(self, stack: ExitStack) -> Supervisor:
        """Opens a supervisor on reserved GPUs; the stack closes it and releases them."""
        config = self.accelerate_config
        count = gpus_of_trial(config, self.gpus_per_trial)
        gpus = stack.enter_context(
            reserve_gpus(1 if count is None else count, wait_seconds=GPU_WAIT_SECONDS)
        )
        launchers = launchers_for(1, self.threads, config, self.gpus_per_trial, gpus)
        return stack.enter_context(Supervisor(launchers, trials_per_worker=self.trials_per_worker))


Key = tuple[RemoteRunner, Path | StoredFolder]


class _Supervisors:
    """One supervisor per run in this process: its training process stays warm during the run."""

    def __init__(self) -> None:
        self._open: dict[Key, tuple[Supervisor, ExitStack]] = {}
        self._opening: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()  # held for a moment, never while something is waited for

    def get(self, runner: RemoteRunner, run: Path | StoredFolder) -> Supervisor:
        """The supervisor of a run; it is closed when the run's lease is lost.

        Raises:
            SettingsError: too few GPUs of this machine get free.
        """
        key = runner, run
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            with self._lock:
                if key in self._open:
                    return self._open[key][0]
            with ExitStack() as stack:
                supervisor = runner.open(stack)
                watch = LeaseWatch(run, lambda: self.close(runner, run))
                stack.push(watch)
                with self._lock:
                    self._open[key] = supervisor, stack.pop_all()
            watch.__enter__()  # now that there is something that a lost lease can close
            return supervisor

    def close(self, runner: RemoteRunner, run: Path | StoredFolder) -> None:
        """Ends what a run has here: its trial, its training process, its hold on the GPUs."""
        with self._lock:
            _, stack = self._open.pop((runner, run), (None, ExitStack()))
        stack.close()

    def close_all(self) -> None:
        for key in list(self._open):
            self.close(*key)


_supervisors = _Supervisors()
atexit.register(_supervisors.close_all)
