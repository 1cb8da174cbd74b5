"""A trial ends in time for what still has to come: the next step, a scoring, a saving."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trials.spec.hyperparameters import Hyperparameters
from trials.spec.plan import StagePlan
from trials.spec.records import Limits, Pace, Schedule
from trials.training.deadline import MARGIN, Deadline


class Clock:
    """Time that passes only when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("trials.training.deadline.time.monotonic", clock)
    return clock


def trial(clock: Clock, wall: float | None, last_step: int = 20, **changes: Any) -> Any:
    """What a deadline asks of the context of a trial of 10 SFT and 10 RL steps."""
    begun = clock.now

    class Events:
        @property
        def attempt_seconds(self) -> float:
            return clock.now - begun

    return SimpleNamespace(
        spec=SimpleNamespace(
            limits=Limits(wall_seconds=wall, pace=changes.pop("pace", Pace())),
            keep_checkpoint=True,
            schedule=Schedule(eval_rows=changes.pop("eval_rows", 4)),
        ),
        hyperparameters=Hyperparameters(sft_batch_size=changes.pop("batch", 10_000)),
        plan=StagePlan(sft=10, dpo=0, rl=10, rl_boundary=changes.pop("rl_boundary", 1)),
        last_step=last_step,
        events=Events(),
        longest=changes.pop("longest", Pace()),
        aside=0.0,
    )


def ends_at(deadline: Deadline, clock: Clock, seconds: float, first: int = 1) -> int | None:
    """The step at which a stage ends whose steps take so many seconds."""
    for step in range(first, first + 10):
        clock.now += seconds
        if deadline.after(step):
            return step
    return None


def test_time_is_kept_for_the_next_step_a_scoring_and_two_savings(clock: Clock) -> None:
    context = trial(clock, 100.0, longest=Pace(scoring=20.0, saving=2.0))
    step = ends_at(Deadline(context, "sft"), clock, 10.0)
    # After five steps 50 s are gone, and 1.25 x (10 + 20 + 4) = 42.5 s may come.
    assert step == 6
    assert 50 + MARGIN * 34 < 100 < 60 + MARGIN * 34


def test_what_is_not_measured_yet_is_expected_as_the_plan_has_it(clock: Clock) -> None:
    context = trial(clock, 100.0, pace=Pace(scoring=30.0, saving=5.0))
    assert ends_at(Deadline(context, "sft"), clock, 10.0) == 4


def test_a_scoring_of_which_nothing_is_known_takes_as_steps_on_half_as_many_rows(
    clock: Clock,
) -> None:
    context = trial(clock, 100.0, eval_rows=8, batch=2)
    # After six steps 60 s are gone, and 1.25 x (10 + 8 / 2 / 2 x 10) = 37.5 s may come.
    assert ends_at(Deadline(context, "sft"), clock, 10.0) == 7
    assert 60 + MARGIN * 30 < 100 < 70 + MARGIN * 30


def test_without_a_limit_a_trial_takes_its_time(clock: Clock) -> None:
    assert ends_at(Deadline(trial(clock, None), "sft"), clock, 1000.0) is None


# review fault 9
def test_the_last_step_is_no_early_end_however_late_it_is(clock: Clock) -> None:
    deadline = Deadline(trial(clock, 100.0, last_step=7), "sft")
    clock.now += 99.0
    assert deadline.after(7) is None


def test_scoring_between_steps_is_not_taken_for_a_long_step(clock: Clock) -> None:
    context = trial(clock, 200.0, longest=Pace(scoring=50.0))
    deadline = Deadline(context, "sft")
    clock.now += 60.0
    context.aside += 50.0
    assert deadline.after(1) is None  # 60 + 1.25 x (10 + 50) < 200, but 60 + 1.25 x 110 is not far
    clock.now += 10.0
    assert deadline.after(2) is None
    assert deadline._longest_step == pytest.approx(10.0)


def test_at_the_end_of_a_stage_the_start_of_the_next_is_reckoned_with(clock: Clock) -> None:
    pace = Pace(starting=20.0, rl_step=15.0, scoring=5.0)
    context = trial(clock, 60.0, pace=pace)
    deadline = Deadline(context, "sft")
    clock.now += 12.0
    assert deadline.after(9) is None  # another step of SFT is cheap
    clock.now += 1.0
    stop = deadline.after(10)  # but not the start of RL: 13 + 1.25 x (20 + 15 + 5) > 60
    assert stop is not None
    assert (stop.rule, stop.step) == ("wall_clock", 10)


def test_it_ends_where_it_can_be_continued(clock: Clock) -> None:
    context = trial(clock, 65.0, rl_boundary=4)
    deadline = Deadline(context, "rl")
    assert ends_at(deadline, clock, 10.0, first=11) == 14  # four more would take too long
