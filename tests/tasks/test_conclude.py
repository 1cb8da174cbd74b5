"""The closing arithmetic: paired differences, and what stopping early saved."""

from __future__ import annotations

import math

import pytest

from tasks.conclude import _full_cost, _paired
from tasks.run_folder import Trial
from trials.records import Cost, Fidelity, SplitScore, TrialResult, TrialSpec


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


def test_paired_differences_use_the_same_rows():
    def score(outcomes):
        return SplitScore(score=0.0, score_se=0.0, rows=len(outcomes), outcomes=outcomes)

    gain, se = _paired(score([1, 1, 0, 1]), score([1, 0, 0, 0]))
    assert gain == pytest.approx(0.5)
    assert se == pytest.approx(math.sqrt((4 * 0.25) / 3) / 2)
    assert _paired(score([1, 0, 1]), score([1, 0, 1])) == (0.0, 0.0)
    with pytest.raises(ValueError, match="3 outcomes cannot be paired with 2"):
        _paired(score([1, 0, 1]), score([1, 0]))
