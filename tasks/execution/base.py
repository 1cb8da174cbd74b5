"""The interface of whatever runs trials, and the names of the files that they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tasks.config.store_names import checked_name
from trials.spec.records import FATAL_KINDS, TRANSIENT_KINDS, TrialResult, TrialSpec

HERE, DASK, WORKERS = "here", "dask", "workers"
# Names in the folder of a run.
TRIALS, SPEC, RESULT, EVENTS, LOG = (
    "trials",
    "spec.json",
    "result.json",
    "events.jsonl",
    "log.txt",
)


class TrialRunner(Protocol):
    """Runs one trial to its end, somewhere."""

    def run(self, spec: TrialSpec) -> TrialResult:
        """The trial's result; one that has a result already is not run again.

        Raises:
            Cancelled: when the run was told to stop.
        """


def on_this_machine(trials_on: str) -> bool:
    """Whether all trials share the devices and the memory of the machine that leads the run."""
    return trials_on in (HERE, DASK)


def run_folder_of(spec: TrialSpec) -> Path:
    """The folder of the run that a trial belongs to: ``<run>/trials/<trial-id>``."""
    return Path(spec.folder).parents[1]


def stored_name(spec: TrialSpec) -> str:
    """The folder of a trial in a store of runs.

    Raises:
        ValueError: its run or it has a name that would lead somewhere else.
    """
    run, trial = checked_name(run_folder_of(spec).name), checked_name(Path(spec.folder).name)
    return f"{run}/{TRIALS}/{trial}"


def is_retryable(result: TrialResult) -> bool:
    """Whether whoever leads the run may discard a result, and have the trial run once more."""
    return result.failure is not None and result.failure.kind in TRANSIENT_KINDS | FATAL_KINDS
