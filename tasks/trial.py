"""One trial as a Prefect task: launched, watched, retried when its failure was bad luck."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from trials.records import TRANSIENT_KINDS, TrialResult, TrialSpec
from trials.supervisor import Supervisor


class TrialCrashed(Exception):
    """A trial failed in a way that may not happen again; Prefect retries the task."""


@task(name="trial", task_run_name="trial-{spec.trial_id}", cache_policy=NO_CACHE)
def run_trial(spec: TrialSpec, supervisor: Supervisor, retries: int) -> TrialResult:
    """Runs one trial; a finished one is answered from disk.

    Submit it ``with_options(retries=retries)``. The last attempt's result is returned whatever it
    is: a configuration that fails is something to learn from.

    Raises:
        TrialCrashed: after a transient failure, while attempts are left.
    """
    result = supervisor.run(spec)
    attempt = task_run.run_count or 1
    transient = result.failure is not None and result.failure.kind in TRANSIENT_KINDS
    if transient and attempt <= retries:
        # Kept for the record, under a name that does not count as the trial's result.
        file = Path(spec.folder) / "result.json"
        file.replace(file.with_name(f"result.attempt-{attempt}.json"))
        assert result.failure is not None
        raise TrialCrashed(f"trial {spec.trial_id}: {result.failure.message}")
    return result
