"""The ledger: never spends more than its budget, in any unit, also across a kill."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import Budget
from tasks.runs.ledger import MOST_IDLE, SAVE_EVERY_SECONDS, CostScale, Ledger
from trials.spec.records import Cost, Failure, Fidelity, Schedule, TrialResult, TrialSpec


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def result(seconds, state="completed"):
    failure = Failure(kind="crashed", message="-") if state == "failed" else None
    return TrialResult(
        trial_id="t", state=state, fraction=1.0, cost=Cost(seconds=seconds), failure=failure
    )


def ledger(tmp_path, amount, unit, **kwargs):
    return Ledger(tmp_path / "ledger.json", Budget(amount=amount, unit=unit), **kwargs)


@given(amount=st.integers(2, 60), share=st.floats(0, 0.9))
def test_trials_never_exceed_the_budget_and_finalists_get_their_share(
    tmp_path_factory, amount, share
):
    books = ledger(tmp_path_factory.mktemp("l"), amount, "trials", finalist_share=share)
    explored = 0
    while books.allows(1.0):
        books.start_trial()
        explored += 1
    while books.allows(1.0, finalist=True):
        books.start_trial()
    assert books.started == amount
    assert amount - explored >= share * amount


@given(costs=st.lists(st.floats(0.05, 2.0), min_size=1, max_size=80))
def test_full_equivalents_are_not_overspent_when_costs_are_known(tmp_path_factory, costs):
    books = ledger(tmp_path_factory.mktemp("l"), 5, "full", finalist_share=0.0)
    for cost in costs:
        if books.allows(cost):
            books.settle(result(10 * cost), cost)
    assert books.spent_full <= 5 + 1e-6


def test_a_time_budget_keeps_room_for_finalists_and_the_closing_measurement(tmp_path):
    clock = Clock()
    books = ledger(tmp_path, 1000, "seconds", closing_seconds=200, clock=clock)
    assert books.allows(1.0)
    books.settle(result(100), 1.0)  # a full trial takes 100 s
    clock.now += 450
    assert books.allows(1.0)  # 450 + 100 <= 0.75 * 800
    clock.now += 100
    assert not books.allows(1.0)
    assert books.allows(1.0, finalist=True)  # 550 + 100 <= 800
    assert books.trial_limit() == pytest.approx(250)


def test_until_a_trial_is_measured_the_plan_says_what_one_takes(tmp_path):
    clock = Clock()
    books = ledger(
        tmp_path,
        600,
        "seconds",
        closing_seconds=100,
        finalist_share=0.0,
        trial_seconds=200.0,
        overhead_seconds=40.0,
        already=150.0,
        clock=clock,
    )
    assert books.elapsed == pytest.approx(150)  # the server had to start
    assert books.left == pytest.approx(350)
    assert books.seconds(1.0) == pytest.approx(200)
    assert books.seconds(0.5) == pytest.approx(120)  # half of its steps, but all of its loading
    assert books.allows(1.0)
    clock.now += 151
    assert not books.allows(1.0)
    assert books.allows(0.9)
    books.settle(result(60), 0.5)
    assert books.seconds(1.0) == pytest.approx(80)


def test_failed_trials_are_charged_but_do_not_set_the_pace(tmp_path):
    books = ledger(tmp_path, 10, "full")
    books.settle(result(3, "failed"), 0.4)
    assert books.spent_full == pytest.approx(0.4)
    books.settle(result(50), 0.5)
    assert books.seconds_per_full == pytest.approx(100)


def test_time_goes_on_after_a_kill_from_the_last_few_seconds(tmp_path):
    clock = Clock()
    first = ledger(tmp_path, 1000, "seconds", clock=clock)
    for _ in range(300):
        clock.now += 1
        first.tick()
    clock.now += 5000  # killed: nobody works in that time
    resumed = ledger(tmp_path, 1000, "seconds", clock=clock)
    assert 300 - SAVE_EVERY_SECONDS - 1 <= resumed.elapsed <= 300


def test_a_trial_that_found_its_run_done_uses_no_unit(tmp_path):
    """It shares its whole beginning with another; one that failed was launched all the same."""
    books = ledger(tmp_path, 3, "trials", finalist_share=0.0)
    for cost, state in ((1.0, "completed"), (0.0, "completed"), (0.0, "failed")):
        assert books.allows(1.0)
        books.start_trial()
        books.settle(result(1.0, state), cost)
    assert books.started == 2
    assert books.allows(1.0)


@pytest.mark.parametrize("unit", ["trials", "full", "seconds"])
def test_trials_that_have_nothing_to_run_do_not_go_on_for_ever(tmp_path, unit):
    books = ledger(tmp_path, 100, unit, finalist_share=0.0, clock=lambda: 0.0)
    started = 0
    while books.allows(1.0) and started < 1000:
        books.start_trial()
        books.settle(result(0.0), 0.0)
        started += 1
    assert started == MOST_IDLE


def cost_of(scale, model, flops, state="completed", fraction=1.0):
    spec = TrialSpec(
        trial_id="t",
        dataset="d",
        dataset_fingerprint="f",
        config={},
        fidelity=Fidelity(model=model, fraction=fraction),
        seed=0,
        folder="t",
        schedule=Schedule(),
    )
    outcome = result(1, state).model_copy(
        update={"cost": Cost(seconds=1, flops=flops), "fraction": fraction}
    )
    return scale.of(spec, outcome)


def test_a_failed_default_does_not_make_a_proxy_the_measure():
    scale = CostScale({"small": 0.03})
    assert cost_of(scale, "large", 0, "failed") == 1.0
    assert cost_of(scale, "small", 3e10) == pytest.approx(0.03)
    assert cost_of(scale, "small", 1.5e10, fraction=0.5) == pytest.approx(0.015)
    assert cost_of(scale, "large", 1e12) == pytest.approx(1.0)


def test_a_proxy_that_fails_at_once_costs_its_own_share():
    scale = CostScale({"small": 0.03})
    assert cost_of(scale, "large", 1e12) == 1.0
    assert cost_of(scale, "small", 0, "failed") == pytest.approx(0.03)
    assert cost_of(scale, "large", 0, "failed", fraction=0.5) == pytest.approx(0.5)
