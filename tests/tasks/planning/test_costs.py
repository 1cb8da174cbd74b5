"""What a run plans, what it refuses, and that what it offers instead is accepted."""

from __future__ import annotations

import shlex
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import Budget, TuneSettings
from tasks.planning.alternatives import longer_budget
from tasks.planning.costs import LEAST_ROWS, CompletionLengths, TrialCosts
from tasks.planning.plan import plan_of
from trials.io.errors import SettingsError
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.records import Pace, Schedule

NOW = datetime(2026, 3, 1, 12, 0)
# A model of a hundred million parameters on two cores, with prompts of a page.
REAL = Pace(loading=6, starting=3, sft_step=8, rl_step=25, scoring=8, saving=1)
TINY = Pace(loading=0.2, starting=0.2, sft_step=0.02, rl_step=0.05, scoring=0.05, saving=0.1)


def costs(pace: Pace = REAL, **changes: object) -> TrialCosts:
    fields = {
        "pace": pace,
        "scored_rows": 8,
        "config": Hyperparameters(adapter="lora", lora_rank=16, sft_batch_size=4, rl_batch_size=8),
        "train_rows": 400,
        "pairs": 0,
        "validation_rows": 200,
        "test_rows": 500,
        "start_up": 40.0,
    }
    return TrialCosts(**{**fields, **changes})


def settings(budget: str, **changes: object) -> TuneSettings:
    fields = {"dataset": "qa", "model": "smol", "parallel": 1, **changes}
    return TuneSettings(budget=Budget.parse(budget), **fields)


def test_a_trial_is_added_up_from_its_parts() -> None:
    schedule = Schedule(total_steps=10, eval_rows=16, eval_points=(0.5, 1.0))
    by_hand = 6 + (3 + 6 * 8 + 1) + (3 + 4 * 25 + 1) + 2 * 16
    assert costs().trial(schedule) == pytest.approx(by_hand)


def offered(text: str, mark: str) -> TuneSettings:
    """The settings of a command that a refusal offers."""
    [line] = [line for line in text.splitlines() if line.strip().startswith(mark)]
    words = shlex.split(line.split("autopipe tune ")[1])
    options = dict(zip(words[1::2], words[2::2], strict=True))
    schedule = Schedule(
        total_steps=int(options.get("--steps", 100)),
        eval_rows=int(options.get("--eval-rows", 128)),
        max_completion_tokens=int(options["--max-completion"])
        if "--max-completion" in options
        else None,
    )
    return settings(options["--budget"], schedule=schedule)


@pytest.mark.parametrize("budget", ["13m", "30m", "1h", "1h30m"])
def test_what_does_not_fit_is_refused_with_commands_that_do(budget: str) -> None:
    with pytest.raises(SettingsError, match=r"a full trial takes about \d") as refused:
        plan_of(costs(), settings(budget), NOW, elapsed=40)
    text = str(refused.value)
    smaller = offered(text, "this fits")
    assert smaller.budget == Budget.parse(budget)
    assert f"--budget {budget} " in text  # as people write it, and not in seconds
    assert smaller.schedule.total_steps < 100
    # Also where everything takes a fifth longer when the command is run.
    slower = REAL.model_copy(update={name: 1.2 * value for name, value in REAL})
    for accepted in (smaller, offered(text, "or give it longer")):
        plan_of(costs(slower), accepted, NOW, elapsed=40)


# Measured with 16 tokens: most of the time goes into those that would follow.
LONG = CompletionLengths(measured=16, limit=256, most=100, rl_growth=0.4, row_growth=0.04)


def test_costs_grow_in_proportion_to_the_tokens() -> None:
    long = costs(completions=LONG)
    lengths = [16, 32, 64, 128, 256]
    paces = [long.pace_of(Schedule(max_completion_tokens=tokens)) for tokens in lengths]
    assert [pace.rl_step for pace in paces] == pytest.approx([25 + 0.4 * (n - 16) for n in lengths])
    assert [pace.scoring for pace in paces] == pytest.approx(
        [128 * (1 + 0.04 * (n - 16)) for n in lengths]
    )
    assert {pace.sft_step for pace in paces} == {REAL.sft_step}
    assert long.pace_of(Schedule()) == paces[-1]  # as long as the data ask for


def test_shorter_completions_save_no_more_than_their_share() -> None:
    """However steep the growth was taken to be, half the tokens take half the time at least."""
    steep = CompletionLengths(measured=200, limit=200, most=10, rl_growth=1.0, row_growth=1.0)
    halved = costs(completions=steep).pace_of(Schedule(max_completion_tokens=100))
    assert halved.rl_step == REAL.rl_step / 2
    assert halved.scoring == 64


def test_shorter_completions_are_offered_where_fewer_rows_and_steps_are_not_enough() -> None:
    long = costs(completions=LONG)
    with pytest.raises(SettingsError) as refused:
        plan_of(long, settings("2h"), NOW, elapsed=40)
    smaller = offered(str(refused.value), "this fits")
    assert smaller.schedule.max_completion_tokens in LONG.shorter(Schedule())
    assert smaller.schedule.total_steps >= 25
    plan_of(long, smaller, NOW, elapsed=40)
    # With more time it is the rows and the steps alone.
    with pytest.raises(SettingsError) as refused:
        plan_of(long, settings("5h"), NOW, elapsed=40)
    smaller = offered(str(refused.value), "this fits")
    assert smaller.schedule.max_completion_tokens is None
    plan_of(long, smaller, NOW, elapsed=40)


def test_completions_are_not_offered_shorter_than_most_are() -> None:
    assert LONG.shorter(Schedule()) == [192, 128, 100]
    assert LONG.shorter(Schedule(max_completion_tokens=1000)) == [750, 500, 250]
    assert LONG.shorter(Schedule(max_completion_tokens=90)) == []


def test_a_schedule_of_millions_of_steps_is_refused_as_quickly() -> None:
    schedule = Schedule(total_steps=10_000_000)
    start = time.monotonic()
    with pytest.raises(SettingsError) as refused:
        plan_of(costs(), settings("2h", schedule=schedule), NOW, elapsed=40)
    assert time.monotonic() - start < 5.0
    assert offered(str(refused.value), "this fits").schedule.total_steps >= 10


def test_a_limit_of_completions_that_was_given_is_named_where_time_is_short() -> None:
    schedule = Schedule(max_completion_tokens=512)
    with pytest.raises(SettingsError, match="512 tokens long: a smaller --max-completion"):
        plan_of(costs(), settings("13m", schedule=schedule), NOW, elapsed=40)
    with pytest.raises(SettingsError) as refused:
        plan_of(costs(), settings("13m"), NOW, elapsed=40)
    assert "--max-completion" not in str(refused.value)


def test_only_a_budget_is_offered_where_no_schedule_fits() -> None:
    with pytest.raises(SettingsError) as refused:
        plan_of(costs(), settings("4m"), NOW, elapsed=40)
    assert "this fits" not in str(refused.value)
    assert "or give it longer" in str(refused.value)


def test_the_least_that_any_budget_holds_is_offered_where_this_one_holds_nothing() -> None:
    with pytest.raises(SettingsError) as refused:
        plan_of(costs(), settings("5m"), NOW, elapsed=40)
    least = offered(str(refused.value), "the least that fits")
    whole = offered(str(refused.value), "or give it longer")
    assert 5 * 60 < least.budget.amount < whole.budget.amount / 4
    assert least.schedule.total_steps < 100
    plan_of(costs(), least, NOW, elapsed=40)


def test_what_fits_is_planned_and_asks_for_nothing() -> None:
    plan = plan_of(costs(TINY), settings("10m"), NOW, elapsed=40)
    assert plan.trial_seconds == pytest.approx(costs(TINY).trial(Schedule()))
    assert "a full trial takes about" in plan.text
    assert "finished by 12:" in plan.text
    assert plan.probe.rows == 128
    assert plan.probe.sampled_rows is None  # in full, as the history was described
    assert plan.test_rows == 400


def test_where_much_of_the_time_is_gone_the_default_alone_is_enough() -> None:
    quick = Pace(loading=1, starting=1, sft_step=0.1, rl_step=0.3, scoring=0.5, saving=0.1)
    late, early = (costs(quick, start_up=seconds) for seconds in (45.0, 20.0))
    assert late.trial(Schedule()) < 90 < 3 * late.trial(Schedule())
    plan = plan_of(late, settings("3m"), NOW, elapsed=45)
    assert "about 1 fit in what is left" in plan.text
    with pytest.raises(SettingsError, match="too short"):
        plan_of(early, settings("3m"), NOW, elapsed=20)
    with pytest.raises(SettingsError, match="too short"):
        plan_of(costs(start_up=45.0), settings("3m"), NOW, elapsed=45)


def test_other_budgets_are_planned_and_never_refused() -> None:
    plan = plan_of(costs(), settings("12"), NOW, elapsed=40)
    assert "at most 12 of them" in plan.text
    assert "finished at about" in plan.text  # nothing ends it then
    assert plan.probe.rows == 128
    assert plan.probe.sampled_rows is None
    assert plan.probe.limits.wall_seconds is None


@pytest.mark.parametrize("budget", ["5m", "13m", "30m", "2h", "10h"])
def test_the_probe_takes_a_tenth_of_the_time_at_most(budget: str) -> None:
    chosen = settings(budget)
    size = costs().probe(chosen)
    allowed = 0.1 * chosen.budget.amount
    seconds = costs().probe_seconds(chosen) - REAL.loading
    assert seconds <= max(allowed, 4 * costs().row(chosen.schedule)) + 1e-6
    assert size.rows <= 128
    assert size.limits.wall_seconds is not None


def test_the_probe_is_as_small_as_the_rows_of_a_scoring() -> None:
    size = costs().probe(settings("12", schedule=Schedule(eval_rows=8)))
    assert (size.rows, size.feature_rows, size.sampled_rows) == (8, 8, 8)


def test_what_is_left_out_is_said() -> None:
    schedule = Schedule(total_steps=4, eval_rows=32)
    chosen = settings("30m", schedule=schedule)
    plan = plan_of(costs(REAL.model_copy(update={"scoring": 24.0})), chosen, NOW, elapsed=40)
    assert plan.probe.sampled_rows == 0
    assert "no completions" in plan.text
    assert LEAST_ROWS <= plan.test_rows < 400
    assert f"{plan.test_rows} of 400 test rows" in plan.text


def test_more_time_is_in_whole_minutes() -> None:
    found = longer_budget(costs(), settings("10m"))
    assert found is not None
    assert found.budget.amount % 60 == 0
    assert found.budget.amount > 600
    assert found.schedule == settings("10m").schedule


def test_a_scoring_is_of_no_more_rows_than_there_are() -> None:
    few = costs(validation_rows=32)
    assert few.pace_of(Schedule(eval_rows=128)).scoring == pytest.approx(32 * few.row(Schedule()))
    text = plan_of(few, settings("12", schedule=Schedule(eval_rows=128)), NOW, elapsed=40).text
    assert "scorings of 32 rows" in text
    assert "32 validation rows is uncertain by up to ± 0.09" in text
    assert few.probe(settings("12")).rows == 32


@given(
    parallel=st.integers(1, 8),
    seconds=st.floats(1.0, 1e5),
    step=st.floats(0.001, 60.0),
    start_up=st.floats(1.0, 300.0),
)
def test_as_many_trials_fit_as_there_is_time_for(
    parallel: int, seconds: float, step: float, start_up: float
) -> None:
    """Whether trials are short, and wait for their proposals, or long, and wait for their turn."""
    paced = costs(TINY.model_copy(update={"sft_step": step}), start_up=start_up)
    asked = settings("12", parallel=parallel)
    most = paced.most_trials(asked, seconds)
    assert most == 1 or paced.trials_seconds(asked, most) <= seconds * (1 + 1e-9)
    assert paced.trials_seconds(asked, most + parallel) > seconds * (1 - 1e-9)


def test_the_end_that_is_planned_counts_the_wait_for_the_offline_models() -> None:
    def end(**changes: object) -> str:
        text = plan_of(costs(TINY, **changes), settings("12"), NOW, elapsed=40).text
        return text.split("finished at about ")[1][:5]

    assert end() < end(learning=300.0)
    assert end() == end(learning=0.01)  # they are there before the base model is probed
