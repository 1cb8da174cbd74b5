"""The closing arithmetic: paired differences, and what stopping early saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.planning.costs import LEAST_ROWS, MARGIN
from tasks.runs.folder import Trial
from tasks.search.conclude import LITTLE_SECONDS, FinalMeasurement, _full_cost, _row_seconds
from trials.spec.records import Cost, Fidelity, Schedule, SplitScore, TrialResult, TrialSpec


def trial(number, config, fraction, seconds):
    spec = TrialSpec(
        trial_id=str(number),
        dataset="d",
        dataset_fingerprint="f",
        config=config,
        fidelity=Fidelity(model="m", fraction=fraction),
        folder="x",
    )
    return Trial(
        spec,
        TrialResult(
            trial_id=str(number),
            state="completed",
            fraction=fraction,
            score=0.5,
            cost=Cost(seconds=seconds),
        ),
    )


def test_a_trial_stopped_at_a_third_would_have_cost_three_times_as_much():
    trials = [
        trial(0, {"a": 1.0}, 1.0, 10.0),
        trial(1, {"a": 2.0}, 0.25, 3.0),
        trial(2, {"a": 3.0}, 0.5, 5.0),
        trial(3, {"a": 3.0}, 1.0, 6.0),  # continued: counts as it was
    ]
    assert _full_cost(trials) == pytest.approx(10 + 12 + 11)


def test_what_a_trial_on_a_proxy_would_have_cost_is_not_mixed_with_the_target():
    part, proxy = trial(0, {"a": 1.0}, 0.25, 3.0), trial(1, {"a": 1.0}, 1.0, 2.0)
    smaller = proxy.spec.fidelity.model_copy(update={"model": "smaller"})
    proxy = Trial(proxy.spec.model_copy(update={"fidelity": smaller}), proxy.result)
    assert _full_cost([part, proxy]) == pytest.approx(12 + 2)


def test_as_many_test_rows_as_there_is_time_for():
    assert FinalMeasurement.of(400, math.inf, 1.0, 3) == FinalMeasurement(400)
    half = FinalMeasurement.of(400, 200 * MARGIN * 3 * 0.5 + 1e-6, 0.5, 3)
    assert half.rows == 200
    assert half.wall_seconds >= 200 * 3 * 0.5
    assert FinalMeasurement.of(400, -50.0, 2.0, 3).rows == LEAST_ROWS
    # Loading a real model may take longer than all of its rows.
    assert FinalMeasurement.of(400, 100.0, 0.1, 3, load_seconds=20.0).rows == int(
        40 / (MARGIN * 0.3)
    )
    late = FinalMeasurement.of(400, -50.0, 0.1, 3, load_seconds=20.0)
    assert late.wall_seconds is not None
    assert late.wall_seconds > 120
    # A second or two are not worth a row, however late it is.
    assert FinalMeasurement.of(400, -1.0, LITTLE_SECONDS / 3000, 3).rows == 400


def test_a_row_takes_as_long_as_it_took_with_the_models_that_are_measured(tmp_path: Path):
    def scored(name: str, took: float) -> TrialSpec:
        spec = trial(name, {"a": 1.0}, 1.0, 1.0).spec
        (tmp_path / name).mkdir()
        events = [{"kind": "phase", "phase": "loading"}, {"kind": "score", "step": 1, "took": took}]
        lines = [json.dumps({"seconds": float(i)} | each) for i, each in enumerate(events)]
        (tmp_path / name / "events.jsonl").write_text("\n".join(lines) + "\n")
        return spec.model_copy(update={"folder": str(tmp_path / name)})

    base = SplitScore(score=0.0, score_se=0.0, rows=8, outcomes=[0.0] * 8)
    probe = SimpleNamespace(seconds=8.0, scores={"base": base})
    dataset = SimpleNamespace(splits={"validation": [None] * 10})  # no more than there are
    inputs = SimpleNamespace(schedule=Schedule(eval_rows=128), probe=probe, dataset=dataset)
    loop = SimpleNamespace(inputs=inputs)
    best, default = scored("best", 20.0), scored("default", 30.0)
    assert _row_seconds(loop, [best, default]) == pytest.approx((1 + 2 + 3) / 3)
    unscored = default.model_copy(update={"folder": str(tmp_path / "nothing")})
    assert _row_seconds(loop, [best, unscored]) == pytest.approx((1 + 2 + 2) / 3)
