"""Configurations come back from the arguments that TRL's own classes write down."""

from __future__ import annotations

import json

import pytest
from trl import DPOConfig, GRPOConfig, SFTConfig

from tasks.translation.arguments import (
    REQUIRED,
    SAME_VALUE,
    config_from_arguments,
    infer_stage,
    lora_targets,
)
from tasks.translation.results import RowError
from trials.spec.arguments import (
    LORA_TARGETS,
    Execution,
    dpo_arguments,
    grpo_arguments,
    lora_arguments,
    sft_arguments,
)
from trials.spec.hyperparameters import validate
from trials.spec.kinds import STAGES
from trials.spec.plan import StagePlan
from trials.spec.records import Schedule

SCHEDULE = Schedule(total_steps=40, micro_batch_size=4, max_completion_tokens=32)
EXECUTION = Execution(seed=3, processes=1, on_cpu=True, bf16=False)
STAGE = {
    "sft": (sft_arguments, SFTConfig, StagePlan(40, 0, 0)),
    "dpo": (dpo_arguments, DPOConfig, StagePlan(0, 40, 0)),
    "rl": (grpo_arguments, GRPOConfig, StagePlan(0, 0, 40)),
}


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        ("sft", {"sft_share": 1.0}),
        (
            "sft",
            {
                "sft_share": 1.0,
                "sft_schedule": "wsd",
                "sft_decay": 0.25,
                "sft_decay_shape": "1-sqrt",
                "sft_warmup": 0.1,
                "sft_packing": True,
                "sft_loss_type": "dft",
                "sft_completion_only": False,
                "neftune_alpha": 5.0,
                "weight_decay": 0.1,
                "max_grad_norm": 0.5,
                "adam_beta2": 0.95,
            },
        ),
        ("sft", {"sft_share": 1.0, "sft_schedule": "greedy", "sft_warmup": 0.0}),
        ("dpo", {"sft_share": 0.0, "dpo_share": 1.0, "dpo_loss_type": "apo_zero", "dpo_beta": 0.3}),
        ("rl", {"sft_share": 0.0, "rl_max_completion_tokens": 32}),
        (
            "rl",
            {
                "sft_share": 0.0,
                "rl_schedule": "cosine_min_lr",
                "rl_min_lr_ratio": 0.3,
                "rl_warmup": 0.05,
                "rl_num_generations": 4,
                "rl_updates_per_generation": 2,
                "rl_num_iterations": 3,
                "rl_loss_type": "grpo",
                "rl_importance_sampling_level": "sequence",
                "rl_epsilon": 0.003,
                "rl_epsilon_high": 0.004,
                "rl_scale_rewards": "batch",
                "rl_temperature": 0.8,
                "rl_top_p": 0.9,
                "rl_top_k": 20,
                "rl_max_completion_tokens": 64,
                "rl_mask_truncated": True,
                "rl_top_entropy_quantile": 0.8,
                "rl_entropy_coef": 0.01,
            },
        ),
    ],
)
def test_what_trl_was_given_comes_back(stage, config, tmp_path):
    wanted = validate(config)
    build, kind, plan = STAGE[stage]
    written = kind(output_dir=str(tmp_path), **build(wanted, plan, SCHEDULE, EXECUTION)).to_dict()
    arguments = json.loads(json.dumps(written, default=str))  # as users are told to save it
    assert infer_stage(arguments, None) == stage
    found = validate(config_from_arguments(arguments, stage, 40))
    names = [
        name
        for name in type(wanted).model_fields
        if name.startswith((f"{stage}_", "neftune" if stage == "sft" else stage))
    ]
    names += ["weight_decay", "max_grad_norm", "adam_beta2", "adapter", "sft_share", "dpo_share"]
    told = {"rl_importance_sampling_level", "rl_epsilon_high"}  # written even where it was implied
    for name in names:
        got, meant = getattr(found, name), getattr(wanted, name)
        if name in told and meant is None:
            continue
        assert got == (pytest.approx(meant) if isinstance(meant, float) else meant), name
    assert (found.sampling_level, found.clip_range) == (wanted.sampling_level, wanted.clip_range)


@pytest.mark.parametrize("targets", ["all-linear", "attention", "mlp"])
def test_adapters_come_back(targets):
    wanted = validate(
        {"adapter": "lora", "lora_rank": 4, "lora_alpha_ratio": 0.5, "lora_targets": targets}
    )
    arguments = {"learning_rate": 1e-4, "per_device_train_batch_size": 2}
    found = config_from_arguments(arguments, "sft", 10, lora_arguments(wanted))
    names = ("adapter", "lora_rank", "lora_alpha_ratio", "lora_targets")
    assert {name: found[name] for name in names} == {n: getattr(wanted, n) for n in names}


def test_layers_are_named_by_the_nearest_choice():
    assert lora_targets(["q_proj", "v_proj"]) == "attention"
    assert lora_targets(["up_proj"]) == "mlp"
    assert lora_targets(["q_proj", "up_proj"]) == "all-linear"
    assert lora_targets(["odd"]) is lora_targets(None) is None
    assert lora_targets(LORA_TARGETS["mlp"]) == "mlp"


def test_every_stage_has_its_names():
    assert set(SAME_VALUE) == set(REQUIRED) == set(STAGES)


def test_older_arguments_of_dpo_are_not_those_of_grpo():
    older = {"beta": 0.1, "loss_type": "sigmoid", "max_completion_length": 256}
    assert infer_stage(older, None) == "dpo"
    newer = {"beta": 0.0, "loss_type": "dapo", "max_completion_length": 256}
    assert infer_stage(newer, None) == "rl"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"optim": "adamw_torch_fused"}, None),
        ({"optim": "OptimizerNames.PAGED_ADAMW_8BIT"}, None),
        ({"optim": "lion_32bit"}, "optim=lion_32bit"),
        ({"optim": "galore_adamw"}, "optim=galore_adamw"),
        ({"optim": "adafactor"}, "optim=adafactor"),
        ({"use_muon": True}, "use_muon"),
    ],
)
def test_other_optimizers_have_no_counterpart(arguments, named):
    given = {"learning_rate": 1e-4, "per_device_train_batch_size": 2, **arguments}
    if named is None:
        assert config_from_arguments(given, "sft", 10)["sft_learning_rate"] == 1e-4
    else:
        with pytest.raises(RowError, match=f"^{named} has no counterpart"):
            config_from_arguments(given, "sft", 10)
