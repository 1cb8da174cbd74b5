from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import get_scheduler
from trl import ModelConfig, TrlParser

from tasks.config import paths
from trials.io.errors import HyperparameterError
from trials.spec.arguments import (
    LORA_TARGETS,
    Execution,
    dpo_arguments,
    grpo_arguments,
    has_bf16,
    lora_arguments,
    sft_arguments,
    use_bf16,
)
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import StagePlan
from trials.spec.records import Compute, Schedule

PLAN = StagePlan(sft=40, dpo=20, rl=50)
ONE = Execution(seed=0, processes=1, on_cpu=True, bf16=False)
BUILDERS = {"sft": sft_arguments, "dpo": dpo_arguments, "rl": grpo_arguments}


def arguments(
    stage: str, config: dict[str, Any], execution: Execution = ONE, **schedule: Any
) -> dict[str, Any]:
    schedule = {"max_completion_tokens": 16} | schedule
    return BUILDERS[stage](validate(config), PLAN, Schedule(**schedule), execution)


@pytest.mark.parametrize("stage", BUILDERS)
@given(
    per_device=st.integers(1, 64),
    processes=st.integers(1, 8),
    micro=st.none() | st.integers(1, 64),
)
def test_the_batch_of_a_step_is_the_one_asked_for(
    stage: str, per_device: int, processes: int, micro: int | None
) -> None:
    batch = 2 * per_device * processes
    found = arguments(
        stage,
        {f"{stage}_batch_size": batch, "rl_num_generations": 2},
        replace(ONE, processes=processes),
        micro_batch_size=micro,
    )
    size, steps = found["per_device_train_batch_size"], found["gradient_accumulation_steps"]
    assert size * steps * processes == batch
    assert micro is None or size <= micro
    larger = range(size + 1, (micro or 0) + 1)
    assert not any((2 * per_device) % other == 0 for other in larger)


@pytest.mark.parametrize("stage", BUILDERS)
def test_a_batch_that_processes_cannot_share_is_refused(stage: str) -> None:
    with pytest.raises(
        HyperparameterError, match=f"{stage}_batch_size=16 does not divide by the 3"
    ):
        arguments(stage, {}, replace(ONE, processes=3))


@given(
    groups=st.integers(1, 6),
    size=st.integers(2, 8),
    updates=st.integers(1, 4),
    iterations=st.integers(1, 3),
    micro=st.none() | st.integers(1, 16),
)
def test_a_buffer_of_completions_lasts_whole_steps_and_holds_whole_groups(
    groups: int, size: int, updates: int, iterations: int, micro: int | None
) -> None:
    config = {
        "rl_batch_size": groups * size,
        "rl_num_generations": size,
        "rl_updates_per_generation": updates,
        "rl_num_iterations": iterations,
    }
    found = arguments("rl", config, micro_batch_size=micro)
    passes = found["steps_per_generation"]
    assert passes == found["gradient_accumulation_steps"] * updates
    assert found["per_device_train_batch_size"] * passes == groups * size * updates
    assert found["per_device_train_batch_size"] * passes % found["num_generations"] == 0
    assert found["num_iterations"] == iterations


@pytest.mark.parametrize("stage", BUILDERS)
def test_steps_and_learning_rates_are_those_of_the_stage(stage: str) -> None:
    config = {f"{stage}_learning_rate": 2e-4, f"{stage}_warmup": 0.1, "adam_beta2": 0.95}
    found = arguments(stage, config)
    assert found["max_steps"] == PLAN.steps(stage)
    assert found["warmup_steps"] == round(0.1 * PLAN.steps(stage))
    assert (found["learning_rate"], found["adam_beta2"]) == (2e-4, 0.95)


@pytest.mark.parametrize("stage", BUILDERS)
@given(warmup=st.floats(0, 0.9), decay=st.floats(0.01, 1))
def test_warmup_and_decay_fit_into_the_stage(stage: str, warmup: float, decay: float) -> None:
    config = {f"{stage}_schedule": "wsd", f"{stage}_warmup": warmup}
    config[f"{stage}_decay"] = min(decay, 1 - warmup)
    found = arguments(stage, config)
    assert found["lr_scheduler_type"] == "warmup_stable_decay"
    decaying = found["lr_scheduler_kwargs"]["num_decay_steps"]
    assert 0 <= decaying <= PLAN.steps(stage) - found["warmup_steps"]
    assert abs(decaying - config[f"{stage}_decay"] * PLAN.steps(stage)) <= 1


def test_schedules_with_an_end_of_their_own() -> None:
    found = arguments("rl", {"rl_schedule": "cosine_min_lr", "rl_min_lr_ratio": 0.0})
    assert found["lr_scheduler_kwargs"] == {"min_lr_rate": 0.0}
    found = arguments("sft", {"sft_schedule": "cosine_min_lr"})
    assert found["lr_scheduler_kwargs"] == {"min_lr_rate": 0.1}
    found = arguments("sft", {"sft_schedule": "wsd"})
    assert found["lr_scheduler_kwargs"] == {"num_decay_steps": 8, "decay_type": "cosine"}


def rates(config: dict[str, Any]) -> list[float]:
    """The rates of the SFT stage, as shares of the peak, by the scheduler that TRL makes."""
    found = arguments("sft", config | {"sft_warmup": 0.0})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    steps = found["max_steps"]
    scheduler = get_scheduler(
        found["lr_scheduler_type"],
        optimizer,
        num_warmup_steps=found["warmup_steps"],
        num_training_steps=steps,
        scheduler_specific_kwargs=found["lr_scheduler_kwargs"],
    )
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("shape", "at"),
    [
        (None, lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("linear", lambda p: 1 - p),
        ("1-sqrt", lambda p: 1 - math.sqrt(p)),
    ],
)
def test_wsd_is_flat_and_then_falls_in_its_shape(
    shape: str | None, at: Callable[[float], float]
) -> None:
    config: dict[str, Any] = {"sft_schedule": "wsd", "sft_decay": 0.5}
    found = rates(config if shape is None else config | {"sft_decay_shape": shape})
    half = len(found) // 2
    assert found[:half] == [1.0] * half
    wanted = [at((i - half) / (len(found) - half)) for i in range(half, len(found))]
    assert found[half:] == pytest.approx(wanted)


def test_greedy_evaluates_and_stays_near_the_rate_it_was_given() -> None:
    found = arguments("sft", {"sft_schedule": "greedy", "sft_learning_rate": 1e-6})
    assert (found["eval_strategy"], found["eval_steps"]) == ("steps", 2)
    assert "warmup_steps" not in found
    bounds = found["lr_scheduler_kwargs"]
    assert bounds["min_lr"] < 1e-6 < bounds["max_lr"] < 1e-5
    assert "eval_strategy" not in arguments("sft", {})


def test_how_a_job_runs_reaches_the_trainers() -> None:
    assert "use_vllm" not in arguments("rl", {})
    execution = replace(
        ONE, compute=Compute(vllm=True, vllm_memory=0.4, gradient_checkpointing=True)
    )
    found = arguments("rl", {"rl_loss_type": "vespo"}, execution)
    assert (found["use_vllm"], found["vllm_mode"]) == (True, "colocate")
    assert found["vllm_gpu_memory_utilization"] == 0.4
    assert found["vllm_importance_sampling_mode"].startswith("token")
    assert all(arguments(stage, {}, execution)["gradient_checkpointing"] for stage in BUILDERS)


@pytest.mark.parametrize("supported", [False, True])
def test_bfloat16_is_used_where_it_is_faster_or_asked_for(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.spec.arguments.has_bf16", lambda: supported)
    assert use_bf16("auto", 10**9) == supported
    assert not use_bf16("auto", 10**5)
    assert use_bf16("bfloat16", 10**5)
    assert not use_bf16("float32", 10**9)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True}, False),
        ({"architecture": "x86_64", "avx512_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
    ],
)
def test_a_processor_is_asked_for_its_instructions(
    found: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bf16() == expected


@pytest.mark.parametrize(("major", "expected"), [(7, False), (9, True)])
def test_a_gpu_that_only_emulates_bfloat16_has_none(
    major: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    properties = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert has_bf16() == expected


def test_the_limit_of_completions_in_rl_may_be_its_own() -> None:
    assert arguments("rl", {})["max_completion_length"] == 16
    assert arguments("rl", {"rl_max_completion_tokens": 64})["max_completion_length"] == 64


def test_packing_needs_the_length_of_a_sequence() -> None:
    assert arguments("sft", {})["max_length"] is None
    found = arguments("sft", {"sft_packing": True}, max_length=96)
    assert (found["packing"], found["packing_strategy"], found["max_length"]) == (True, "bfd", 96)


@pytest.mark.parametrize(
    ("targets", "names", "others"),
    [
        (
            "attention",
            [
                "model.layers.0.self_attn.q_proj",
                "transformer.h.1.attn.c_attn",
                "transformer.h.1.attn.c_proj",
                "gpt_neox.layers.0.attention.dense",
            ],
            ["model.layers.0.mlp.up_proj", "transformer.h.1.mlp.c_proj", "lm_head"],
        ),
        (
            "mlp",
            [
                "model.layers.0.mlp.gate_proj",
                "transformer.h.1.mlp.c_proj",
                "gpt_neox.layers.0.mlp.dense_4h_to_h",
                "model.decoder.layers.0.fc1",
            ],
            ["model.layers.0.self_attn.o_proj", "gpt_neox.layers.0.attention.dense", "lm_head"],
        ),
    ],
)
def test_adapters_go_to_the_layers_that_are_asked_for(
    targets: str, names: list[str], others: list[str]
) -> None:
    found = lora_arguments(validate({"adapter": "lora", "lora_targets": targets}))
    assert found is not None
    pattern = found["target_modules"]
    assert [name for name in names + others if re.fullmatch(pattern, name)] == names
    assert LORA_TARGETS[targets] == pattern
    assert lora_arguments(Hyperparameters()) is None
    plain = lora_arguments(validate({"adapter": "lora"}))
    assert plain is not None
    assert plain["target_modules"] == "all-linear"


@pytest.mark.parametrize(("rank", "ratio"), [(1, 0.25), (2, 0.2), (3, 0.5), (16, 1.5), (8, 2.0)])
def test_the_scale_of_an_adapter_is_the_one_asked_for(
    rank: int, ratio: float, tmp_path: Path
) -> None:
    config = {"adapter": "lora", "lora_rank": rank, "lora_alpha_ratio": ratio}
    found = lora_arguments(validate(config))
    assert found is not None
    model: Any = get_peft_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), peft_config(found))
    assert model.base_model.model[0].scaling["default"] == pytest.approx(ratio)
    # The export writes it into files for TRL's command line, which knows it as a whole number.
    file = tmp_path / "lora.yaml"
    file.write_text(yaml.safe_dump({"lora_r": rank, "lora_alpha": found["lora_alpha"]}))
    (read,) = TrlParser(ModelConfig).parse_args_and_config(["--config", str(file)])
    assert read.lora_alpha == found["lora_alpha"]
    assert isinstance(read.lora_alpha, int) == float(rank * ratio).is_integer()


def peft_config(arguments: dict[str, Any]) -> LoraConfig:
    return LoraConfig(**arguments | {"target_modules": ["0"], "task_type": None})


def test_the_arguments_are_known_without_loading_anything_heavy() -> None:
    code = (
        "import sys, trials.spec.arguments; "
        "print({'torch', 'trl', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


@pytest.mark.parametrize(
    ("config", "processes", "micro", "problem"),
    [
        ({"rl_train_generations": 3}, 1, 4, "rl_train_generations=3 of 8 leaves 6 completions"),
        ({"rl_train_generations": 4}, 1, 4, None),
        ({"rl_train_generations": 3}, 1, None, None),
        ({"rl_train_generations": 4}, 4, None, "change rl_batch_size to a multiple of 32"),
        ({"rl_flat_groups": "resample"}, 4, None, "change rl_batch_size to a multiple of 32"),
        ({"rl_flat_groups": "mask"}, 4, None, None),
    ],
)
def test_completions_that_are_chosen_come_out_even(
    config: dict[str, Any], processes: int, micro: int | None, problem: str | None
) -> None:
    """TRL would leave the rest of an uneven buffer out of training without a word."""
    config = {"rl_batch_size": 16, "rl_num_generations": 8} | config
    execution = replace(ONE, processes=processes)
    if problem is None:
        arguments("rl", config, execution, micro_batch_size=micro)
        return
    with pytest.raises(HyperparameterError) as caught:
        arguments("rl", config, execution, micro_batch_size=micro)
    assert problem in str(caught.value)
