from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.errors import HyperparameterError
from trials.hyperparameters import Hyperparameters, split_steps, validate


def problems(**config: Any) -> list[str]:
    with pytest.raises(HyperparameterError) as caught:
        validate(config)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_defaults_are_valid() -> None:
    assert validate({}) == Hyperparameters()


def test_all_problems_at_once() -> None:
    found = problems(
        sft_share=1.5, sft_lr=1e-3, rl_batch_size=30, rl_num_generations=8, lora_rank=4, rl_beta="x"
    )
    for part in ("'sft_lr'", "sft_share=1.5", "rl_batch_size=30", "lora_rank=4", "rl_beta='x'"):
        assert sum(part in problem for problem in found) == 1, part
    assert len(found) == 5


def test_a_broken_field_is_not_blamed_twice() -> None:
    assert len(problems(rl_num_generations=1, rl_batch_size=33)) == 1
    assert len(problems(adapter="Lora", lora_rank=8)) == 1


def test_an_unknown_key_with_a_suggestion() -> None:
    assert "did you mean 'sft_learning_rate'?" in problems(sft_learning_rat=1)[0]
    assert "did you mean" not in problems(zzzz=1)[0]


@given(groups=st.integers(1, 16), size=st.integers(2, 16), extra=st.integers(0, 15))
def test_completions_divide_into_groups(groups: int, size: int, extra: int) -> None:
    config = {"rl_batch_size": groups * size + extra, "rl_num_generations": size}
    if extra % size == 0:
        assert validate(config).rl_batch_size == config["rl_batch_size"]
    else:
        assert "is not a multiple of" in problems(**config)[0]


@pytest.mark.parametrize("field", ["lora_rank", "lora_alpha_ratio", "lora_dropout"])
def test_lora_fields_need_lora(field: str) -> None:
    value = 0.5 if field == "lora_dropout" else 8
    assert getattr(validate({"adapter": "lora", field: value}), field) == value
    assert f"{field}={value}" in problems(adapter="full", **{field: value})[0]
    assert f"{field}={value}" in problems(**{field: value})[0]


@pytest.mark.parametrize("unset", [None, math.nan])
def test_none_and_nan_mean_unset(unset: float | None) -> None:
    config = {"adapter": "full", "lora_rank": unset, "lora_dropout": unset, "rl_beta": unset}
    assert validate(config) == Hyperparameters()


def test_the_upper_clip_is_not_below_the_lower() -> None:
    assert "raise rl_epsilon_high" in problems(rl_epsilon=0.3, rl_epsilon_high=0.2)[0]
    assert validate({"rl_epsilon": 0.2, "rl_epsilon_high": 0.2}).rl_epsilon_high == 0.2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sft_learning_rate", 0.0),
        ("sft_learning_rate", math.inf),
        ("rl_temperature", -1.0),
        ("sft_batch_size", 0),
        ("sft_batch_size", 2.5),
        ("rl_loss_type", "ppo"),
        ("lora_dropout", 1.0),
    ],
)
def test_values_out_of_range(field: str, value: Any) -> None:
    found = problems(adapter="lora", **{field: value})
    assert len(found) == 1
    assert found[0].startswith(f"{field}={value!r}: ")


SHARES = st.floats(0, 1)
TOTALS = st.integers(2, 10_000)


@given(SHARES, TOTALS)
def test_the_stages_share_the_steps(share: float, total: int) -> None:
    sft, rl = split_steps(share, total)
    assert sft + rl == total
    assert min(sft, rl) >= 0
    assert abs(sft - share * total) <= 0.5


@given(SHARES, SHARES, TOTALS)
def test_more_share_never_means_fewer_steps(one: float, other: float, total: int) -> None:
    low, high = sorted([one, other])
    assert split_steps(low, total)[0] <= split_steps(high, total)[0]


@given(TOTALS)
def test_a_share_of_nothing_or_all(total: int) -> None:
    assert split_steps(0.0, total) == (0, total)
    assert split_steps(1.0, total) == (total, 0)
