"""What a configuration means to TRL: the arguments of its trainers, in one place.

The trial gives them to ``SFTConfig`` and ``GRPOConfig``, the export writes them into files for
TRL's own command line; so the two train the same. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trials.hyperparameters import Hyperparameters, split_steps
from trials.records import Schedule

TRL_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}

# bf16 gains from a few million parameters on; below, float32 is faster and exact.
BF16_MIN_PARAMETERS = 5_000_000


@dataclass(frozen=True)
class Execution:
    """How a job runs, whatever its hyperparameters.

    Attributes:
        seed: of data order, dropout and sampled completions.
        processes: that share the batch, one per device.
        on_cpu: no accelerator is used.
        bf16: bfloat16 autocast.
    """

    seed: int
    processes: int
    on_cpu: bool
    bf16: bool


def weights_dtype(h: Hyperparameters, bf16: bool) -> str:
    """Type in which the base model is loaded.

    Weights that are trained stay in float32 under autocast. Frozen ones are loaded as bfloat16:
    autocast would cast them anew for every generated token, which costs more than the token.
    """
    return "bfloat16" if bf16 and h.adapter == "lora" else "float32"


def sft_arguments(h: Hyperparameters, schedule: Schedule, execution: Execution) -> dict[str, Any]:
    """Arguments of ``SFTConfig`` for the full schedule, all but ``output_dir``."""
    steps, _ = split_steps(h.sft_share, schedule.total_steps)
    return {
        **_common_arguments(h, execution),
        **_batch_arguments(h.sft_batch_size, execution.processes, schedule.micro_batch_size),
        "max_steps": steps,
        "remove_unused_columns": True,
        "learning_rate": h.sft_learning_rate,
        "lr_scheduler_type": TRL_SCHEDULES[h.sft_schedule],
        "warmup_steps": round(h.sft_warmup * steps),
        "max_length": None,  # rows were checked to fit; truncation would train on half answers
        "neftune_noise_alpha": h.neftune_alpha or None,
        "completion_only_loss": True,
    }


def grpo_arguments(h: Hyperparameters, schedule: Schedule, execution: Execution) -> dict[str, Any]:
    """Arguments of ``GRPOConfig`` for the full schedule, all but ``output_dir``."""
    _, steps = split_steps(h.sft_share, schedule.total_steps)
    return {
        **_common_arguments(h, execution),
        **_batch_arguments(h.rl_batch_size, execution.processes, None),
        "max_steps": steps,
        "remove_unused_columns": False,  # the reward needs the other columns
        # One generation a step: every step is a boundary at which a checkpoint is exact.
        "steps_per_generation": 1,
        "num_iterations": 1,
        "learning_rate": h.rl_learning_rate,
        "lr_scheduler_type": TRL_SCHEDULES[h.rl_schedule],
        "warmup_steps": round(h.rl_warmup * steps),
        "num_generations": h.rl_num_generations,
        "max_completion_length": schedule.max_completion_tokens,
        "beta": h.rl_beta,
        "epsilon": h.rl_epsilon,
        "epsilon_high": h.rl_epsilon_high,
        "temperature": h.rl_temperature,
        "loss_type": h.rl_loss_type,
        "scale_rewards": h.rl_scale_rewards,
    }


def lora_arguments(h: Hyperparameters) -> dict[str, Any] | None:
    """Arguments of PEFT's ``LoraConfig``, on all linear layers; None for full weights."""
    if h.adapter == "full":
        return None
    rank = h.lora_rank or 16
    return {
        "r": rank,
        "lora_alpha": round(rank * (h.lora_alpha_ratio or 2.0)),
        "lora_dropout": h.lora_dropout or 0.0,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    }


def _common_arguments(h: Hyperparameters, execution: Execution) -> dict[str, Any]:
    """Arguments of both trainers. TRL's defaults of bf16, checkpointing and logging do not fit."""
    return {
        "seed": execution.seed,
        "weight_decay": h.weight_decay,
        "max_grad_norm": h.max_grad_norm,
        "use_cpu": execution.on_cpu,
        "bf16": execution.bf16,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a filtered NaN would hide a diverged trial
        "save_strategy": "no",  # in a trial, its callback says when
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not execution.on_cpu,
        "optim": "adamw_torch",
        "ddp_find_unused_parameters": False,
    }


def _batch_arguments(
    batch_size: int, processes: int, micro_batch_size: int | None
) -> dict[str, Any]:
    """Per-device batch and gradient accumulation that make up ``batch_size`` over all devices."""
    per_device = max(1, batch_size // processes)
    accumulation = 1
    while micro_batch_size and per_device > micro_batch_size and per_device % 2 == 0:
        per_device, accumulation = per_device // 2, accumulation * 2
    return {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
    }
