"""What every curriculum promises, and what each of them prefers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.curriculum.base import Curriculum, mean_advantage, softmax, weighted
from trials.curriculum.curricula import CURRICULA, learns, make_curriculum
from trials.curriculum.difficulty import AdaRFT, Bandit
from trials.curriculum.posterior import Posterior
from trials.spec.hyperparameters import validate

ROWS = 40


def made(name: str, rows: int = ROWS, buffers: int = 50, seed: int = 3, **more: Any) -> Curriculum:
    config = {"rl_curriculum": name} | {f"rl_curriculum_{k}": v for k, v in more.items()}
    return make_curriculum(np.linspace(0, 1, rows), validate(config), seed, buffers)


def pass_rate(row: int, rows: int = ROWS) -> float:
    """The easiest third is always right, the hardest third never."""
    place = row / rows
    return 1.0 if place < 1 / 3 else 0.0 if place > 2 / 3 else 0.5


def play(curriculum: Curriculum, buffers: int, count: int = 4, size: int = 8) -> list[list[int]]:
    rng = np.random.default_rng(0)
    chosen = []
    for buffer in range(buffers):
        rows = curriculum.choose(buffer, count)
        each = np.repeat(rows, size)
        curriculum.observe(each, [float(rng.random() < pass_rate(row)) for row in each])
        chosen.append(rows)
    return chosen


@pytest.mark.parametrize("name", CURRICULA)
@given(rows=st.integers(1, 30), count=st.integers(1, 12), uniform=st.floats(0, 1))
def test_rows_are_distinct_as_far_as_there_are_enough(
    name: str, rows: int, count: int, uniform: float
) -> None:
    more = {} if name == "none" else {"uniform": uniform}
    curriculum = made(name, rows, **more)
    for buffer in range(3):
        found = curriculum.choose(buffer, count)
        assert len(found) == count
        assert set(found) <= set(range(rows))
        assert len(set(found)) == min(count, rows)
        curriculum.observe(found, [0.5] * count)


@pytest.mark.parametrize("name", CURRICULA)
def test_shown_the_same_it_chooses_the_same_wherever_it_begins(name: str) -> None:
    straight, begun, later = made(name), made(name), made(name)
    chosen = play(straight, 12)
    assert play(begun, 12) == chosen
    rng = np.random.default_rng(0)  # the rewards of `play` again, without any choice
    for rows in chosen:
        each = np.repeat(rows, 8)
        later.observe(each, [float(rng.random() < pass_rate(row)) for row in each])
    assert later.choose(12, 4) == straight.choose(12, 4)
    assert later.choose(12, 4, turn=1) == straight.choose(12, 4, turn=1)


@pytest.mark.parametrize("name", CURRICULA)
def test_what_is_not_wanted_is_left_out_if_there_are_others(name: str) -> None:
    curriculum = made(name)
    unwanted = list(range(0, ROWS, 2))
    assert not set(curriculum.choose(0, 10, unwanted)) & set(unwanted)
    assert len(curriculum.choose(0, 10, list(range(ROWS - 3)))) == 10


@pytest.mark.parametrize("name", ["thompson", "cures", "sec", "dump"])
def test_prompts_that_teach_something_are_found(name: str) -> None:
    """Those of the middle third alone have groups with a spread."""
    chosen = play(made(name, uniform=0.1), 60)
    late = [row for rows in chosen[30:] for row in rows]
    useful = np.mean([pass_rate(row) == 0.5 for row in late])
    assert useful > 0.45  # a third by chance


def test_adarft_follows_the_reward() -> None:
    curriculum = made("adarft", rate=0.2, uniform=0.0)
    assert isinstance(curriculum, AdaRFT)
    assert max(curriculum.choose(0, 4)) < ROWS / 2  # begins with the easy ones
    for _ in range(10):
        curriculum.observe(curriculum.choose(0, 4), [1.0] * 4)
    assert curriculum.level == 1.0
    assert min(curriculum.choose(1, 4)) > ROWS / 2
    before = curriculum.level
    curriculum.observe([1, 2], [0.0, 0.0])
    assert curriculum.level == pytest.approx(before + 0.2 * math.tanh(2.0 * -0.5))


def test_adarft_does_not_repeat_itself_while_it_stands_still() -> None:
    curriculum = made("adarft", uniform=0.0)
    first = curriculum.choose(0, 4)
    curriculum.observe(first, [0.5] * 4)
    assert not set(curriculum.choose(1, 4)) & set(first)


def test_offline_goes_from_easy_to_hard() -> None:
    curriculum = made("offline", buffers=10, uniform=0.0, temperature=0.1)
    means = [float(np.mean(curriculum.choose(buffer, 6))) for buffer in (0, 5, 10)]
    assert means == sorted(means)
    assert means[0] < ROWS / 4
    assert means[2] > 3 * ROWS / 4


def test_a_posterior_counts_and_forgets() -> None:
    curriculum = made("thompson", rate=0.25)
    assert isinstance(curriculum, Posterior)
    curriculum.observe([5, 5, 5, 5, 9], [1.0, 1.0, 0.0, 7.0, -1.0])
    assert (curriculum.a[5], curriculum.b[5]) == (4.0, 2.0)
    assert (curriculum.a[9], curriculum.b[9]) == (1.0, 2.0)
    curriculum.observe([5], [0.5])
    assert (curriculum.a[5], curriculum.b[5]) == (3.0 + 0.25 + 0.5, 1.5 + 0.25 + 0.5)
    assert curriculum.expected()[5] == pytest.approx(3.75 / 6.0)
    assert curriculum.coverage == 2 / ROWS


def test_a_bandit_learns_mean_advantages() -> None:
    curriculum = made("sec", rate=0.5)
    assert isinstance(curriculum, Bandit)
    assert curriculum.probabilities() == pytest.approx([0.2] * 5)
    curriculum.observe([39] * 4, [1.0, 0.0, 1.0, 0.0])
    value = mean_advantage(np.array([1.0, 0.0, 1.0, 0.0]), divided=True)
    assert curriculum.q == pytest.approx([0, 0, 0, 0, value / 2])  # type: ignore[attr-defined]
    assert mean_advantage(np.array([1.0, 0.0, 1.0, 0.0]), divided=False) == 0.5
    assert mean_advantage(np.array([1.0]), divided=True) == 0.0


def test_draws_are_in_proportion_to_the_weights() -> None:
    rng, log_weight = np.random.default_rng(0), np.log([1.0, 2.0, 5.0])
    free = np.arange(3)
    drawn = [int(weighted(rng, free, 1, log_weight)[0]) for _ in range(8000)]
    assert np.bincount(drawn) / 8000 == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.02)
    assert softmax(np.array([0.0, math.log(3.0)]), 1.0) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, False),
        ({"rl_flat_groups": "resample"}, False),
        ({"rl_curriculum": "sec"}, True),
        ({"rl_allocation": "knapsack"}, True),
    ],
)
def test_what_depends_on_the_rewards_so_far(config: dict[str, Any], expected: bool) -> None:
    assert learns(validate(config)) == expected
