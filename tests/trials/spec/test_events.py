from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.spec.events import EventLog, curve, read_events
from trials.spec.records import CurvePoint, TrialResult, read_record, write_json


def test_events_come_back_in_order(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    assert list(read_events(file)) == []
    log = EventLog(file)
    log.write("phase", phase="loading")
    log.write("metric", stage="sft", step=1, values={"loss": 1.5})
    # Flushed at once: readable while the log is open.
    first, second = read_events(file)
    assert (first["kind"], first["phase"]) == ("phase", "loading")
    assert (second["step"], second["values"]) == (1, {"loss": 1.5})
    assert 0 <= first["seconds"] <= second["seconds"] <= log.seconds + 1e-3
    log.close()


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", active=False)
    log.write("phase", phase="loading")
    log.close()
    assert not (tmp_path / "events.jsonl").exists()


@given(cut=st.integers(1, 60))
def test_a_half_written_last_line_is_left_for_later(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    log = EventLog(file)
    for step in (1, 2):
        log.write("metric", stage="sft", step=step, values={"loss": 1.5})
    log.close()
    content = file.read_bytes()
    file.write_bytes(content[: -min(cut, len(content) // 2 - 1)])
    assert [event["step"] for event in read_events(file)] == [1]
    # A trial that is started again writes on a line of its own.
    log = EventLog(file)
    log.write("metric", stage="sft", step=2, values={"loss": 1.0})
    log.close()
    assert [event["step"] for event in read_events(file)] == [1, 2]


def test_the_curve_is_of_finite_metrics_and_scores(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    log = EventLog(file)
    log.write("phase", phase="sft")
    values = {"loss": 1.0, "grad_norm": math.nan, "entropy": math.inf}
    log.write("metric", stage="sft", step=1, values=values)
    log.write("score", stage="rl", step=2, values={"score": 0.5}, score_se=0.1)
    log.write("stop", rule="kl_growth", step=2, values={"kl": 9.0})
    log.close()
    points = curve(read_events(file))
    assert points == [
        CurvePoint(stage="sft", step=1, metric="loss", value=1.0),
        CurvePoint(stage="rl", step=2, metric="score", value=0.5),
    ]
    # What is written can be read: JSON has no infinity.
    result = TrialResult(trial_id="t", state="completed", fraction=1.0, curve=points)
    write_json(tmp_path / "result.json", result)
    assert read_record(tmp_path / "result.json", TrialResult) == result


def test_earlier_attempts_count_for_the_cost_and_not_for_the_limit(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", before=100.0)
    assert log.attempt_seconds < 10
    assert 100 <= log.seconds < 110
