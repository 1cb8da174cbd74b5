from __future__ import annotations

import math
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.helpers import ROOT
from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import Hyperparameters, validate


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


def test_every_field_says_what_it_is() -> None:
    fields = Hyperparameters.model_fields
    assert [name for name, field in fields.items() if not field.description] == []


def documented() -> dict[str, list[str]]:
    """Cells of the reference's tables, by field."""
    page = (ROOT / "docs" / "hyperparameters.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {row[0].strip("`"): row for row in cells if len(row) == 6}


def test_the_reference_names_every_field_and_no_other() -> None:
    assert set(documented()) == set(Hyperparameters.model_fields)


def test_the_reference_tells_the_defaults() -> None:
    for name, cells in documented().items():
        default = Hyperparameters.model_fields[name].default
        if default is None:
            continue
        said = re.split(r"[;( ]", cells[2])[0]
        if isinstance(default, bool):
            assert said == str(default).lower(), name
        elif isinstance(default, str):
            assert said == default, name
        else:
            assert float(said) == default, name


def test_the_reference_tells_the_choices() -> None:
    for name, cells in documented().items():
        choices = [
            c
            for part in get_args(Hyperparameters.model_fields[name].annotation) or ()
            for c in (get_args(part) or [part])
            if isinstance(c, str)
        ]
        if not name.endswith("_schedule"):
            assert [choice for choice in choices if choice not in cells[3]] == [], name


def test_the_fields_of_old_configurations_mean_what_they_meant() -> None:
    assert Hyperparameters().model_dump(include=set(OLD)) == OLD


OLD = {
    "sft_share": 0.6,
    "sft_learning_rate": 1e-3,
    "sft_schedule": "cosine",
    "sft_warmup": 0.05,
    "sft_batch_size": 16,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "neftune_alpha": 0.0,
    "adapter": "full",
    "lora_rank": None,
    "lora_alpha_ratio": None,
    "lora_dropout": None,
    "rl_learning_rate": 3e-5,
    "rl_schedule": "constant",
    "rl_warmup": 0.0,
    "rl_batch_size": 16,
    "rl_num_generations": 8,
    "rl_beta": 0.01,
    "rl_epsilon": 0.2,
    "rl_epsilon_high": None,
    "rl_temperature": 1.0,
    "rl_loss_type": "dapo",
    "rl_scale_rewards": "group",
}
GSPO = {"rl_loss_type": "grpo", "rl_importance_sampling_level": "sequence"}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"sft_share": 0.5, "sft_steps": 10}, "sft_share=0.5 and sft_steps=10"),
        ({"sft_steps": 10, "sft_epochs": 2}, "sft_steps=10 and sft_epochs=2"),
        ({"dpo_share": 0.2, "dpo_epochs": 2}, "dpo_share=0.2 and dpo_epochs=2"),
        ({"rl_steps": 10, "rl_epochs": 2}, "rl_steps=10 and rl_epochs=2"),
        ({"sft_share": 0.6, "dpo_share": 0.5}, "sft_share=0.6 and dpo_share=0.5"),
        ({"dpo_share": 0.5}, "sft_share=0.6 (the default) and dpo_share=0.5"),
        ({"sft_packing": True, "sft_epochs": 2}, "sft_epochs=2"),
        ({"lora_targets": "mlp"}, "lora_targets=mlp"),
        ({"sft_decay": 0.3}, "sft_decay=0.3"),
        ({"rl_decay_shape": "linear"}, "rl_decay_shape=linear"),
        ({"sft_phi": 2.0}, "sft_phi=2.0"),
        ({"dpo_power": 0.5, "dpo_schedule": "rex"}, "dpo_schedule='power'"),
        ({"rl_cooldown": 0.5, "rl_schedule": "wsd"}, "rl_cooldown=0.5"),
        ({"rl_schedule": "infinite", "rl_cooldown": 0.7, "rl_decay": 0.4}, "lower rl_decay"),
        ({"dpo_min_lr_ratio": 0.3, "dpo_schedule": "wsd"}, "dpo_min_lr_ratio=0.3"),
        ({"rl_schedule": "wsd", "rl_warmup": 0.5, "rl_decay": 0.6}, "rl_decay=0.6"),
        ({"sft_schedule": "wsd", "sft_warmup": 0.9}, "sft_decay=0.2"),
        ({"sft_schedule": "greedy", "sft_warmup": 0.1}, "sft_warmup=0.1"),
        ({"rl_schedule": "greedy"}, "rl_schedule='greedy'"),
        ({"rl_batch_size": 6, "rl_updates_per_generation": 2}, "rl_updates_per_generation=2"),
        ({"rl_loss_type": "cispo", "rl_epsilon_high": 0.28}, "rl_epsilon_high=0.28"),
        (GSPO | {"rl_loss_type": "dapo"}, "rl_loss_type='dapo'"),
        (GSPO | {"rl_loss_type": "vespo"}, "rl_importance_sampling_level='sequence'"),
        (
            {"rl_loss_type": "luspo", "rl_importance_sampling_level": "token"},
            "rl_importance_sampling_level='token'",
        ),
    ],
)
def test_what_cannot_go_together_is_named(config: dict[str, Any], field: str) -> None:
    [problem] = problems(**config)
    assert field in problem


def test_contradictions_of_all_kinds_are_told_at_once() -> None:
    found = problems(
        sft_share=0.7,
        sft_steps=5,
        lora_rank=4,
        dpo_decay=0.1,
        rl_batch_size=9,
        rl_loss_type="cispo",
        rl_epsilon_high=0.3,
        rl_beta=-1,
    )
    assert len(found) == 6


def test_settings_of_a_stage_that_is_left_out_are_allowed() -> None:
    """Search spaces hold them whatever else they draw."""
    assert validate({"dpo_beta": 0.3, "rl_steps": 0, "rl_temperature": 0.7}).dpo_share == 0
    assert validate({"sft_steps": 0, "sft_packing": True}).sft_steps == 0
    assert validate({"sft_epochs": 3, "dpo_share": 0.9}).dpo_share == 0.9


@pytest.mark.parametrize(
    ("config", "level", "clip"),
    [
        ({}, "token", (0.2, 0.2)),
        ({"rl_epsilon_high": 0.28}, "token", (0.2, 0.28)),
        ({"rl_loss_type": "cispo"}, "token", (0.2, 5.0)),
        ({"rl_loss_type": "cispo", "rl_epsilon_high": 4}, "token", (0.2, 4.0)),
        (GSPO, "sequence", (3e-4, 4e-4)),
        (GSPO | {"rl_epsilon": 1e-3}, "sequence", (1e-3, 1e-3)),
        (GSPO | {"rl_epsilon_high": 1e-3}, "sequence", (3e-4, 1e-3)),
        ({"rl_loss_type": "luspo"}, "sequence", (2e-3, 2.5e-3)),
    ],
)
def test_what_is_not_set_is_what_the_loss_is_used_with(
    config: dict[str, Any], level: str, clip: tuple[float, float]
) -> None:
    h = validate(config)
    assert (h.sampling_level, h.clip_range) == (level, clip)
