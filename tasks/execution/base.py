"""The interface of whatever runs trials, and the names of the files that they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tasks.config.names import checked_name
from trials.spec.kinds import FATAL_KINDS, TRANSIENT_KINDS
from trials.spec.records import TrialResult, TrialSpec

HERE, DASK, WORKERS = "here", "dask", "workers"
# Names in the folder of a run.
TRIALS, SPEC, RESULT, EVENTS = "trials", "spec.json", "result.json", "events.jsonl"
LOG = "log.txt"


class TrialRunner(Protocol):
    """Runs one trial to its end, on whichever machine."""

    def run(self, spec: TrialSpec) -> TrialResult:
        """Returns the trial's result; a trial that has one already is not run again.

        Raises:
            Cancelled: the run was told to stop.
        """


def on_this_machine(trials_on: str) -> bool:
    """True if all trials share the devices and the memory of the machine that leads the run."""
    return trials_on in (HERE, DASK)


def run_folder_of(spec: TrialSpec) -> Path:
    """The folder of the run that a trial belongs to: ``<run>/trials/<trial-id>``."""
    return Path(spec.folder).parents[1]


def result_file(spec: TrialSpec) -> Path:
    """The result of a trial, once there is one."""
    return Path(spec.folder) / RESULT


def stored_name(spec: TrialSpec) -> str:
    """The folder of a trial in a store; a ValueError for a name that would lead elsewhere."""
    run, trial = checked_name(run_folder_of(spec).name), checked_name(Path(spec.folder).name)
    return f"{run}/{TRIALS}/{trial}"


def is_fatal(result: TrialResult) -> bool:
    """True if every other trial would fail in the same way."""
    return result.failure is not None and result.failure.kind in FATAL_KINDS


def is_retryable(result: TrialResult) -> bool:
    """True if the leader of the run may discard a result, and have the trial run again."""
    return result.failure is not None and result.failure.kind in FATAL_KINDS | TRANSIENT_KINDS
