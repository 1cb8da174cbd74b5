"""What the events of a trial say about how long its parts take."""

from __future__ import annotations

import pytest

from trials.events import Event
from trials.pace import pace_of, trial_seconds
from trials.plan import StagePlan
from trials.records import Pace, Schedule


def event(seconds: float, kind: str, **fields: object) -> Event:
    return {"kind": kind, "seconds": seconds, **fields}


EVENTS = [
    event(0.0, "phase", phase="loading"),
    event(2.0, "phase", phase="preparing sft"),
    event(5.0, "phase", phase="sft"),
    event(9.0, "metric", stage="sft", step=1),  # the first step takes longer
    event(10.0, "metric", stage="sft", step=2),
    event(14.0, "score", stage="sft", step=3, took=3.0),  # 1 s of it was the step
    event(14.0, "metric", stage="sft", step=3),
    event(16.0, "phase", phase="saved", took=2.0),
    event(16.0, "phase", phase="preparing rl"),
    event(17.0, "phase", phase="rl"),
    event(22.0, "metric", stage="rl", step=4),
]


def test_parts_are_told_apart() -> None:
    pace = pace_of(EVENTS)
    assert pace == Pace(
        loading=2.0, starting=3.0, sft_step=1.0, rl_step=5.0, scoring=3.0, saving=2.0
    )


def test_only_the_last_attempt_counts() -> None:
    before = [event(0.0, "phase", phase="loading"), event(90.0, "phase", phase="preparing sft")]
    assert pace_of([*before, *EVENTS]) == pace_of(EVENTS)


def test_what_did_not_happen_is_not_known() -> None:
    assert pace_of(EVENTS[:3]) == Pace(loading=2.0, starting=3.0)
    assert pace_of([]) == Pace()


def test_a_trial_that_goes_on_pays_for_the_rest_alone() -> None:
    pace = Pace(loading=1, starting=2, sft_step=3, rl_step=10, scoring=7, saving=4)
    plan = StagePlan(sft=6, dpo=0, rl=4)
    schedule = Schedule(total_steps=10, eval_points=(0.3, 1.0))
    whole = trial_seconds(pace, plan, schedule)
    assert whole == pytest.approx(1 + (2 + 18 + 4) + (2 + 40 + 4) + 2 * 7)
    part = trial_seconds(pace, plan, schedule, 0.3)
    assert part == pytest.approx(1 + (2 + 9 + 4) + 7)
    rest = trial_seconds(pace, plan, schedule, 1.0, since=6)
    assert rest == pytest.approx(1 + (2 + 40 + 4) + 7)
