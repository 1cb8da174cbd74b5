"""Events of trials elsewhere: each once, and those of a second attempt from its beginning."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.execution import event_follower
from tasks.execution.event_follower import EventFollower
from tests.trials.helpers import make_spec, write_dataset
from trials.spec.events import EventLog
from trials.spec.records import Cost, Failure, TrialResult, write_json


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def test_a_second_attempt_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_follower, "POLL_SECONDS", 0.05)
    spec = make_spec(tmp_path / "run" / "trials" / "000", write_dataset(tmp_path / "data"))
    folder, steps = Path(spec.folder), []
    folder.mkdir(parents=True)
    with EventFollower(lambda _, event: steps.append(event["step"])) as follower:
        follower.follow(spec)
        log = EventLog(folder / "events.jsonl")
        for step in (1, 2):
            log.write("metric", step=step)
        wait_until(lambda: steps == [1, 2])
        failure = Failure(kind="killed", message="gone", log_tail="")
        failed = TrialResult(
            trial_id="000", state="failed", fraction=0.0, cost=Cost(seconds=1), failure=failure
        )
        write_json(folder / "result.json", failed)
        time.sleep(0.3)  # it is seen
        (folder / "result.json").rename(folder / "result.attempt-1.json")
        # As long as the first one was, and longer, before anybody looks.
        (folder / "events.jsonl").unlink()
        log = EventLog(folder / "events.jsonl", before=100.0)
        for step in (11, 12, 13):
            log.write("metric", step=step)
        wait_until(lambda: steps == [1, 2, 11, 12, 13])
        done = TrialResult(
            trial_id="000", state="completed", fraction=1.0, score=0.5, cost=Cost(seconds=1)
        )
        log.write("metric", step=14)
        write_json(folder / "result.json", done)
        wait_until(lambda: steps[-1] == 14)
        wait_until(lambda: not follower._specs)
    assert steps == [1, 2, 11, 12, 13, 14]
