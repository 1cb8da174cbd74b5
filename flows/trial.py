"""Trial: run one trial of a tune run that is led from elsewhere; workers of the pool take these."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Cancelled as CancelledState

from tasks.execution.remote import RemoteRunner
from tasks.runs.formatting import plus_minus
from trials.io.redact import redacted
from trials.process.supervisor import Cancelled
from trials.spec.records import TrialSpec


@flow(name="trial")
def trial(spec: TrialSpec, runner: RemoteRunner) -> object:
    """Run one trial for the run that its folder belongs to; the result is left in that folder.

    Args:
        spec: Of the trial; made by the run, not by hand.
        runner: Threads, GPUs and Accelerate config of the training process.
    """
    log = get_run_logger()
    try:
        result = runner.run(spec)
    except Cancelled:
        return CancelledState(message="the run of this trial has ended")
    if result.failure:
        log.warning("failed (%s): %s", result.failure.kind, redacted(result.failure.message))
    else:
        log.info("scored %s", plus_minus(result.score, result.score_se))
    return None
