"""What the events of a trial say about how long its parts take."""

from __future__ import annotations

import pytest

from trials.spec.events import Event
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.pace import Generation, pace_of, rl_seconds, trained_tokens, trial_seconds
from trials.spec.plan import StagePlan
from trials.spec.records import Pace, Schedule


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


# Eight rows on two cores; a token is trained on in 5 ms.
GENERATION = Generation(rows=8, width=300, prefill=4.0, per_token=0.1)
TOKEN = 0.005


def test_a_step_of_rl_generates_and_trains() -> None:
    h = Hyperparameters(rl_batch_size=8, rl_beta=0.0)
    by_hand = 4.0 + 100 * 0.1 + 8 * (300 + 100) * TOKEN
    assert rl_seconds(h, GENERATION, TOKEN, 100) == pytest.approx(by_hand)
    # The reference is a pass more.
    with_reference = h.model_copy(update={"rl_beta": 0.1})
    assert rl_seconds(with_reference, GENERATION, TOKEN, 100) > by_hand


@pytest.mark.parametrize("batch", [4, 8, 64])
@pytest.mark.parametrize("reuse", [{}, {"rl_num_iterations": 2}, {"rl_updates_per_generation": 4}])
def test_it_takes_longer_by_as_much_for_each_token(batch: int, reuse: dict[str, int]) -> None:
    h = Hyperparameters(rl_batch_size=batch, rl_num_generations=4, **reuse)
    seconds = [rl_seconds(h, GENERATION, TOKEN, tokens) for tokens in (10, 20, 30, 130)]
    assert seconds == sorted(seconds)
    assert seconds[2] - seconds[1] == pytest.approx(seconds[1] - seconds[0])
    assert seconds[3] - seconds[2] == pytest.approx(10 * (seconds[1] - seconds[0]))


def test_fewer_rows_are_not_decoded_faster_and_more_are_slower() -> None:
    generating = [
        rl_seconds(
            Hyperparameters(rl_batch_size=batch, rl_num_generations=2), GENERATION, 0.0, 1000
        )
        for batch in (2, 8, 16)
    ]
    few, eight, many = (round(seconds) for seconds in generating)
    assert (few, eight, many) == (101, 104, 208)


def test_buffers_that_are_used_again_are_generated_once() -> None:
    h = Hyperparameters(rl_batch_size=8)
    again = h.model_copy(update={"rl_num_iterations": 4})
    assert rl_seconds(again, GENERATION, 0.0, 100) == pytest.approx(
        rl_seconds(h, GENERATION, 0.0, 100) / 4
    )


def test_generation_is_that_of_the_last_scoring() -> None:
    timed = {"rows": 8.0, "width": 300.0, "prefill": 4.0, "per_token": 0.1}
    first = {name: 9 * value for name, value in timed.items()}
    log = [event(1.0, "score", took=1.0, generation=each) for each in (first, timed)]
    assert Generation.of(log) == GENERATION
    assert Generation.of(log, processes=2) == Generation(16, 300, 4.0, 0.1)
    assert Generation.of(log[:0]) is None
    assert GENERATION.row(100) == pytest.approx(14 / 8)


def test_tokens_of_a_step_leave_out_the_first() -> None:
    log = [event(1.0 + i, "metric", stage="sft", step=i, tokens=n) for i, n in enumerate((9, 4, 6))]
    assert trained_tokens(log) == 5
    assert trained_tokens(log[:1]) == 9
    assert trained_tokens([]) == 0
