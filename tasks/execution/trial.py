"""One trial as a Prefect task: run, and retried after a failure that may not happen again."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.execution.base import EVENTS, LOG, TrialRunner, result_file
from trials.io.errors import AutoPipeError
from trials.spec.events import read_events
from trials.spec.kinds import TRANSIENT_KINDS
from trials.spec.records import TrialResult, TrialSpec, read_record, write_json


class TrialCrashed(Exception):
    """A trial failed in a way that may not happen again; Prefect retries the task."""


@task(name="trial", task_run_name="trial-{spec.trial_id}", cache_policy=NO_CACHE)
def run_trial(spec: TrialSpec, runner: TrialRunner, retries: int) -> TrialResult:
    """Runs one trial; the result of a finished one is read from disk.

    Submit it with ``ExecutionBackend.submit``. The last attempt's result is returned whatever it
    is: a configuration that fails is something to learn from. Its cost is that of all attempts.

    Raises:
        TrialCrashed: after a transient failure, while attempts are left.
    """
    finished = result_file(spec).exists()
    attempt = task_run.run_count or 1
    result = runner.run(_with_remaining_time(spec, retried=attempt - 1))
    if finished:
        return result  # and charged already
    result = _charge_failed_attempts(spec, result)
    failure = result.failure
    if failure and failure.kind in TRANSIENT_KINDS and attempt <= retries:
        # Kept for the record, under a name that does not count as the trial's result.
        _archive_result(spec, f"attempt-{len(_attempts(spec)) + 1}")
        raise TrialCrashed(f"trial {spec.trial_id}: {failure.message}")
    return result


def abort_run(spec: TrialSpec, result: TrialResult, next_step: str) -> NoReturn:
    """Ends a run whose other trials would all fail in the same way, and cost their share.

    The trial counts as one without a result, and is run again when the run is resumed. The
    ``next_step`` is the end of "Fix the cause, then ...".

    Raises:
        AutoPipeError: always.
    """
    assert result.failure is not None
    _archive_result(spec, "given-up")
    raise AutoPipeError(
        f"trial {spec.trial_id} failed ({result.failure.kind}), and so would all others: "
        f"{result.failure.message}\n  Its log: {spec.folder}/{LOG}\n"
        f"  Fix the cause, then {next_step}"
    )


def _with_remaining_time(spec: TrialSpec, retried: int) -> TrialSpec:
    """The spec of a further attempt: it has the time that those before it in this task left."""
    limit, attempts = spec.limits.wall_seconds, _attempts(spec)
    if limit is None or not retried or not attempts:
        return spec
    # The cost of each includes those before it.
    spent = read_record(attempts[-1], TrialResult).cost.seconds
    if older := attempts[:-retried]:
        spent -= read_record(older[-1], TrialResult).cost.seconds
    limits = spec.limits.model_copy(update={"wall_seconds": max(1.0, limit - spent)})
    return spec.model_copy(update={"limits": limits})


def _charge_failed_attempts(spec: TrialSpec, result: TrialResult) -> TrialResult:
    """Adds to the cost of a result what the attempts before it spent on work that is lost.

    The result of each attempt includes the cost of those before it, so only the last one is added.
    Its work up to the checkpoint that the trial resumed from is in the result already, unless that
    has no account of its tokens: then the supervisor wrote it for a trial that could not. The time
    of that part is known; FLOPs and tokens are taken to be in proportion.
    """
    attempts = _attempts(spec)
    if not attempts:
        return result
    before = read_record(attempts[-1], TrialResult).cost
    kept = _seconds_kept(spec) if result.cost.tokens else 0.0
    lost = max(0.0, before.seconds - kept)
    share = lost / before.seconds if before.seconds else 1.0
    cost = {
        "seconds": result.cost.seconds + lost,
        "flops": result.cost.flops + share * before.flops,
        "tokens": result.cost.tokens + round(share * before.tokens),
        "peak_memory_bytes": max(result.cost.peak_memory_bytes, before.peak_memory_bytes),
    }
    result = result.model_copy(update={"cost": result.cost.model_copy(update=cost)})
    if result_file(spec).exists():  # not where even that could not be written
        write_json(result_file(spec), result)
    return result


def _seconds_kept(spec: TrialSpec) -> float:
    """Seconds of earlier attempts that an attempt resumed from: its own time begins with them."""
    starts = [
        event["seconds"]
        for event in read_events(Path(spec.folder) / EVENTS)
        if event.get("phase") == "loading" and event.get("trial_id") == spec.trial_id
    ]
    return float(starts[-1]) if starts else 0.0


def _attempts(spec: TrialSpec) -> list[Path]:
    """Results of the attempts that were retried, in their order."""
    files = Path(spec.folder).glob("result.attempt-*.json")
    return sorted(files, key=lambda file: int(file.stem.rpartition("-")[2]))


def _archive_result(spec: TrialSpec, name: str) -> None:
    file = result_file(spec)
    if file.exists():
        file.replace(file.with_name(f"result.{name}.json"))
