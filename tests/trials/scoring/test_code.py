"""Functions as rewards: TRL's own without permission, anybody else's only with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from trials.data.dataset import Dataset, DatasetCard, Row
from trials.io.errors import RewardError, RewardFailed
from trials.scoring.rewards import Reward, build_reward


def row(answer: str, *others: str) -> Row:
    prompt = [{"role": "user", "content": "?"}]
    return Row(prompt, [], answer, {}, Path("rows.jsonl"), 7, alternatives=others)


def reward_of(kind: str, **args: Any) -> Reward:
    card = DatasetCard(reward=kind, reward_args=args)
    return build_reward(Dataset(Path("memory"), card, "", {"train": []}, False))


def test_trl_compares_formulas() -> None:
    reward = reward_of("trl.rewards:accuracy_reward")
    assert reward(r"so \boxed{\frac{2}{4}}", row(r"\boxed{\frac{1}{2}}")) == 1.0
    assert reward(r"so \boxed{\frac{2}{3}}", row(r"\boxed{\frac{1}{2}}")) == 0.0
    assert reward(r"so \boxed{3}", row("$2$", "$3$")) == 1.0


def test_trl_rewards_take_their_arguments() -> None:
    text = r"<r>it is</r> \boxed{7}"
    assert reward_of("trl.rewards:reasoning_accuracy_reward")(text, row("$7$")) == 0.0
    with_end = reward_of("trl.rewards:reasoning_accuracy_reward", reasoning_delimiters=["</r>"])
    assert with_end(text, row("$7$")) == 1.0


def test_trl_looks_at_the_form() -> None:
    reward = reward_of("trl.rewards:think_format_reward")
    assert reward("<think>\nso\n</think>\n3", row("3")) == 1.0
    assert reward("3", row("3")) == 0.0


def test_a_solution_that_trl_cannot_read_is_told() -> None:
    with pytest.raises(RewardFailed, match=r"returned None[\s\S]*rows\.jsonl:7"):
        reward_of("trl.rewards:accuracy_reward")(r"\boxed{3}", row("three"))


# review fault 1
def test_trl_rewards_are_bounded_too() -> None:
    """TRL asks math-verify too."""
    begin = time.monotonic()
    reward = reward_of("trl.rewards:accuracy_reward")
    assert reward(r"so \boxed{$77777777!$}", row("$7$")) == 0.0
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("trl.rewards:no_such", "unknown; expected one of trl.rewards:accuracy_reward"),
        ("trl.rewards:__name__", "unknown"),
        ("trl.rewards:os.system", "unknown"),
        ("trl.rewards:get_soft_overlong_punishment", "cannot be used: .*rl_length_weight"),
        ("trl.rewards:get_cosine_scaled_reward", "cannot be used: it scores tokens"),
        ("trl.rewards.accuracy_rewards:sys", "not run unasked"),
        ("trl.rewards_of_mine:f", "not run unasked"),
        ("os:system", "not run unasked; add --allow-user-code"),
    ],
)
def test_only_trls_own_names_need_no_permission(kind: str, problem: str) -> None:
    with pytest.raises(RewardError, match=problem):
        reward_of(kind)


def test_unknown_arguments_of_trls_rewards_are_refused() -> None:
    with pytest.raises(RewardError, match=r"reward_args of .*: log_extra unknown; expected none"):
        reward_of("trl.rewards:accuracy_reward", log_extra="print")


@pytest.mark.parametrize(
    ("kind", "args", "problem"),
    [
        ("numeric", {"digits": 3}, "digits unknown; expected none"),
        ("choice", {"choice": ["A"]}, "choice unknown; expected choices"),
        ("choice", {"choices": "AB"}, "must be a list of texts"),
        ("choice", {"choices": ["A", 1]}, "must be a list of texts"),
        ("choice", {"choices": ["A" * 200_000]}, "200,0.. characters; expected at most 100,000"),
        ("choice", {"choices": [str(n) for n in range(1_001)]}, "1,001 labels to look for"),
        ("reasoning_gym", {}, "dataset missing; expected dataset"),
        ("exact_match", {"choices": ["A"]}, "choices unknown"),
    ],
)
def test_arguments_are_checked_and_bounded(kind: str, args: dict[str, Any], problem: str) -> None:
    with pytest.raises(RewardError, match=problem):
        reward_of(kind, **args)


def test_a_marker_is_a_short_text() -> None:
    card = DatasetCard(reward="numeric", answer_marker="x" * 201)
    with pytest.raises(RewardError, match="answer_marker has 201 characters"):
        build_reward(Dataset(Path("memory"), card, "", {"train": []}, False))
