"""The plan: its stages add up, nothing is planned that cannot run, and stops are exact."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import validate
from trials.spec.plan import StagePlan, plan_steps
from trials.spec.records import Schedule

ROWS, PAIRS = 200, 50
PLANS = st.builds(
    StagePlan,
    sft=st.integers(0, 60),
    dpo=st.integers(0, 60),
    rl=st.integers(1, 60),
    rl_boundary=st.integers(1, 16),
)
FRACTIONS = st.floats(0.001, 1)


def plan(config: dict[str, Any], total: int = 100, rows: int = ROWS, pairs: int = PAIRS) -> Any:
    found = plan_steps(validate(config), Schedule(total_steps=total), rows, pairs)
    return found.sft, found.dpo, found.rl


def problems(config: dict[str, Any], **data: int) -> list[str]:
    with pytest.raises(HyperparameterError) as caught:
        plan(config, **data)
    return caught.value.problems


@given(PLANS)
def test_stages_follow_one_another(found: StagePlan) -> None:
    assert found.total == found.sft + found.dpo + found.rl
    steps = 0
    for stage in ("sft", "dpo", "rl"):
        assert found.start(stage) == steps
        steps += found.steps(stage)
        assert found.end(stage) == steps
        assert (stage in found.stages) == (found.steps(stage) > 0)
    assert steps == found.total


@given(PLANS, FRACTIONS, FRACTIONS)
def test_more_of_a_trial_never_ends_earlier(found: StagePlan, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert 1 <= found.last_step(low) <= found.last_step(high) <= found.total


@given(PLANS, FRACTIONS)
def test_a_trial_ends_at_the_first_boundary_from_its_fraction_on(
    found: StagePlan, fraction: float
) -> None:
    last = found.last_step(fraction)
    asked = min(found.total, max(1, math.floor(fraction * found.total + 0.5)))
    assert found.is_boundary(last)
    assert not any(found.is_boundary(step) for step in range(asked, last))
    assert found.last_step(1.0) == found.total


def test_a_boundary_is_where_the_buffer_of_completions_is_used_up() -> None:
    found = StagePlan(sft=3, dpo=2, rl=10, rl_boundary=4)
    assert [step for step in range(1, 16) if found.is_boundary(step)] == [1, 2, 3, 4, 5, 9, 13, 15]


@given(sft=st.integers(0, 100), dpo=st.integers(0, 100), total=st.integers(2, 500))
def test_shares_are_rounded_without_loss(sft: int, dpo: int, total: int) -> None:
    dpo = min(dpo, 100 - sft)
    found = plan({"sft_share": sft / 100, "dpo_share": dpo / 100}, total)
    assert sum(found) == total
    assert min(found) >= 0
    assert abs(found[0] - sft / 100 * total) <= 0.5
    assert abs(found[1] - dpo / 100 * total) <= 1
    if sft + dpo == 100:
        assert found[2] == 0


@given(share=st.floats(0, 1), total=st.integers(2, 500))
def test_two_stages_are_split_as_they_always_were(share: float, total: int) -> None:
    sft = round(share * total)
    assert plan({"sft_share": share}, total) == (sft, 0, total - sft)


@given(one=st.floats(0, 1), other=st.floats(0, 1), total=st.integers(2, 500))
def test_more_share_never_means_fewer_steps(one: float, other: float, total: int) -> None:
    low, high = (plan({"sft_share": share}, total)[0] for share in sorted([one, other]))
    assert low <= high


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (60, 0, 40)),
        ({"sft_steps": 30}, (30, 0, 70)),
        ({"sft_steps": 0}, (0, 0, 100)),
        ({"sft_share": 0}, (0, 0, 100)),
        ({"sft_share": 1}, (100, 0, 0)),
        ({"sft_steps": 200, "rl_steps": 0}, (200, 0, 0)),
        ({"rl_steps": 7}, (60, 0, 7)),
        ({"sft_epochs": 2, "sft_batch_size": 8}, (50, 0, 50)),
        ({"sft_epochs": 0.5, "sft_batch_size": 16}, (7, 0, 93)),
        ({"sft_share": 0.5, "dpo_share": 0.3}, (50, 30, 20)),
        ({"sft_share": 0, "dpo_share": 1}, (0, 100, 0)),
        ({"sft_steps": 0, "dpo_share": 1}, (0, 100, 0)),
        ({"sft_share": 0.5, "dpo_steps": 20}, (50, 20, 30)),
        ({"sft_share": 0.5, "dpo_epochs": 2, "dpo_batch_size": 4}, (50, 25, 25)),
        ({"sft_share": 0.5, "dpo_share": 0.5}, (50, 50, 0)),
        # 200 prompts of 8 completions, 16 completions a step.
        ({"sft_share": 0, "rl_epochs": 1}, (0, 0, 100)),
        ({"sft_share": 0, "rl_epochs": 1, "rl_num_iterations": 2}, (0, 0, 200)),
    ],
)
def test_lengths_in_shares_steps_and_epochs(
    config: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    assert plan(config) == expected


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"sft_steps": 100}, ["sft_steps=100: nothing is left of the 100 total steps"]),
        ({"sft_epochs": 30}, ["sft_epochs=30.0: nothing is left"]),
        ({"sft_steps": 60, "dpo_share": 0.5}, ["sft_steps=60 and dpo_share=0.5: nothing is left"]),
        ({"sft_steps": 0, "rl_steps": 0}, ["no stage has any step"]),
        ({"rl_batch_size": 512, "rl_num_generations": 2}, ["asks for 256 prompts at a time"]),
    ],
)
def test_what_cannot_run_is_refused(config: dict[str, Any], found: list[str]) -> None:
    refused = problems(config)
    assert len(refused) == len(found)
    assert all(part in problem for part, problem in zip(found, refused, strict=True))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"sft_batch_size": 11}, ["sft_batch_size=11 is more than the 10 rows"]),
        ({"dpo_batch_size": 6, "dpo_share": 0.3}, ["dpo_batch_size=6 is more than the 5 pref"]),
        ({"sft_batch_size": 11, "dpo_batch_size": 6, "dpo_share": 0.3}, ["sft_batch", "dpo_batch"]),
    ],
)
def test_a_batch_larger_than_the_data_is_refused(config: dict[str, Any], found: list[str]) -> None:
    config = {"sft_batch_size": 8, "rl_batch_size": 8} | config
    refused = problems(config, rows=10, pairs=5)
    assert len(refused) == len(found)
    assert all(problem.startswith(part) for part, problem in zip(found, refused, strict=True))


@pytest.mark.parametrize(
    "config",
    [
        {"sft_batch_size": 10},
        {"sft_batch_size": 11, "sft_share": 0},
        {"dpo_batch_size": 5, "dpo_share": 0.3},
        {"dpo_batch_size": 6},
    ],
)
def test_a_batch_of_all_the_data_or_of_no_stage_is_not(config: dict[str, Any]) -> None:
    config = {"sft_batch_size": 8, "rl_batch_size": 8} | config
    assert sum(plan(config, rows=10, pairs=5)) == 100


@pytest.mark.parametrize("field", ["dpo_share", "dpo_steps", "dpo_epochs"])
def test_dpo_needs_preferences(field: str) -> None:
    value = 0.4 if field == "dpo_share" else 2
    [problem] = problems({field: value}, pairs=0)
    assert problem.startswith(f"{field}={validate({field: value}).model_dump()[field]}: ")
    assert "preferences.jsonl" in problem
    assert f"{field}: 0" in problem
    assert "--space sft_grpo" in problem


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    config = {"sft_steps": 30, "dpo_steps": 90, "rl_steps": 5, "rl_batch_size": 800}
    assert len(problems(config, pairs=0, rows=50)) == 2


@given(updates=st.integers(1, 8), iterations=st.integers(1, 4))
def test_the_boundary_follows_the_buffer(updates: int, iterations: int) -> None:
    config = {"rl_updates_per_generation": updates, "rl_num_iterations": iterations}
    found = plan_steps(validate(config), Schedule(), ROWS, 0)
    assert found.rl_boundary == updates * iterations
