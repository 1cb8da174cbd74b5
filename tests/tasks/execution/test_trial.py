"""One trial as a task: retried when its failure was bad luck, and charged for every attempt."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.execution.backend import ExecutionBackend
from tasks.execution.base import is_fatal
from tasks.execution.trial import abort_run
from tests.trials.helpers import DirectLauncher, make_spec
from trials.io.errors import AutoPipeError
from trials.process.supervisor import Supervisor
from trials.spec.records import (
    Cost,
    Failure,
    Limits,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)

# Serves an inbox as a worker does. Its first attempts at a trial fail as ``ATTEMPTS`` says; each is
# the seconds of earlier attempts that it went on from, its own result or None when it is killed.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from trials.spec.events import EventLog
from trials.process.inbox import Inbox
from trials.spec.records import Cost, Failure, TrialResult, TrialSpec, read_record, write_json
from trials.io.watchdog import end_with_supervisor
from trials.io.output import output_to

ATTEMPTS = {attempts}

def serve(spec):
    folder = Path(spec.folder)
    kept, seconds, tokens, kind = ATTEMPTS[len(list(folder.glob("result.attempt-*.json")))]
    log = EventLog(folder / "events.jsonl")
    log.write("phase", phase="loading", trial_id=spec.trial_id)
    log = EventLog(folder / "events.jsonl", before=kept)
    log.write("phase", phase="loading", trial_id=spec.trial_id)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    write_json(folder / "result.json", TrialResult(
        trial_id=spec.trial_id, state="failed" if kind else "completed", fraction=1.0,
        cost=Cost(seconds=seconds, tokens=tokens, flops=10.0 * tokens, peak_memory_bytes=tokens),
        failure=Failure(kind=kind, message="no luck") if kind else None))

end_with_supervisor()
for file in Inbox(Path(sys.argv[1])).jobs():
    spec = read_record(file, TrialSpec)
    with output_to(Path(spec.folder) / "log.txt"):
        serve(spec)
"""
Attempts = list[tuple[float, float, int, str | None]]


@pytest.fixture
def spec(tmp_path: Path, dataset_folder: Path) -> TrialSpec:
    return make_spec(tmp_path / "one", dataset_folder)


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.trials.helpers import write_dataset

    return write_dataset(tmp_path_factory.mktemp("trial") / "data")


def run(spec: TrialSpec, attempts: Attempts, retries: int = 2) -> TrialResult:
    @flow
    def one_trial() -> TrialResult:
        launcher = DirectLauncher(program=PROGRAM.replace("{attempts}", repr(attempts)))
        with ThreadPoolTaskRunner(max_workers=1) as tasks, Supervisor(launcher) as supervisor:
            return ExecutionBackend(supervisor, tasks, retries).submit(spec).result()

    return one_trial()


def on_disk(spec: TrialSpec) -> TrialResult:
    return read_record(Path(spec.folder) / "result.json", TrialResult)


def test_lost_attempts_are_charged_once(prefect_harness, spec: TrialSpec) -> None:
    # The second attempt went on from second 4 of the first, the third from second 9 of the second.
    attempts: Attempts = [
        (0.0, 10.0, 50, "crashed"),
        (4.0, 12.0, 60, "crashed"),
        (9.0, 20.0, 100, None),
    ]
    result = run(spec, attempts)
    assert result.state == "completed"
    spent = 10 + (12 - 4) + (20 - 9)
    assert result.cost.seconds == pytest.approx(spent, abs=0.1)
    lost_once = 0.6 * 50  # 6 of 10 seconds
    lost_twice = (18 - 9) / 18 * (60 + lost_once)
    assert result.cost.tokens == pytest.approx(100 + lost_twice, abs=2)
    assert result.cost.flops == pytest.approx(10 * (100 + lost_twice), abs=20)
    assert result.cost.peak_memory_bytes == 100
    assert on_disk(spec) == result
    assert len(list(Path(spec.folder).glob("result.attempt-*.json"))) == 2
    assert run(spec, attempts) == result  # answered from disk, not charged again
    assert on_disk(spec) == result


def test_a_killed_attempt_is_charged_and_the_last_one_is_the_result(
    prefect_harness, spec: TrialSpec
) -> None:
    result = run(spec, [(0.0, 7.0, 30, "hung"), (0.0, 0.0, 0, "killed")], retries=1)
    assert result.failure is not None
    assert result.failure.kind == "killed"
    assert 7 < result.cost.seconds < 60
    assert result.cost.flops == 300
    assert on_disk(spec) == result


def test_a_run_that_was_killed_between_two_attempts_still_charges_the_first(
    prefect_harness, spec: TrialSpec
) -> None:
    before = TrialResult(
        trial_id=spec.trial_id, state="failed", fraction=0.5, cost=Cost(seconds=5, flops=70)
    )
    write_json(Path(spec.folder) / "result.attempt-1.json", before)
    attempts: Attempts = [(0.0, 0.0, 0, None), (0.0, 3.0, 10, "crashed"), (0.0, 2.0, 10, None)]
    result = run(spec, attempts)
    assert result.cost.seconds == pytest.approx(10, abs=0.1)
    assert result.cost.flops == 270
    assert read_record(Path(spec.folder) / "result.attempt-1.json", TrialResult) == before


def test_a_failure_that_is_no_bad_luck_is_final(prefect_harness, spec: TrialSpec) -> None:
    result = run(spec, [(0.0, 2.0, 10, "bad_config"), (0.0, 1.0, 10, None)])
    assert result.failure is not None
    assert result.cost.seconds == 2


def test_giving_up_keeps_the_failure_and_lets_the_trial_run_again(spec: TrialSpec) -> None:
    failure = Failure(kind="disk_full", message="no space")
    result = TrialResult(trial_id="one", state="failed", fraction=0, failure=failure)
    assert is_fatal(result)
    assert not is_fatal(result.model_copy(update={"failure": None}))
    with pytest.raises(AutoPipeError, match=r"(?s)no space.*one/log\.txt.*then go on$"):
        abort_run(spec, result, "go on")  # where not even the result could be written
    write_json(Path(spec.folder) / "result.json", result)
    with pytest.raises(AutoPipeError):
        abort_run(spec, result, "go on")
    assert not (Path(spec.folder) / "result.json").exists()
    assert read_record(Path(spec.folder) / "result.given-up.json", TrialResult) == result


def test_further_attempts_have_the_time_that_is_left(prefect_harness, spec: TrialSpec) -> None:
    """Not the whole of it once more: a budget would be over long before."""
    limited = spec.model_copy(update={"limits": Limits(wall_seconds=100.0)})
    older = TrialResult(
        trial_id=spec.trial_id, state="failed", fraction=0.5, cost=Cost(seconds=40, flops=70)
    )
    write_json(Path(spec.folder) / "result.attempt-1.json", older)  # before it was resumed
    attempts: Attempts = [
        (0.0, 0.0, 0, None),
        (0.0, 30.0, 10, "crashed"),
        (0.0, 20.0, 10, "crashed"),
        (0.0, 2.0, 10, None),
    ]
    assert run(limited, attempts).state == "completed"
    last = read_record(Path(spec.folder) / "spec.json", TrialSpec)
    assert last.limits.wall_seconds == pytest.approx(100 - 30 - 20, abs=0.5)
