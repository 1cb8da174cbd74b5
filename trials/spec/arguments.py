"""Arguments of TRL's trainers for a configuration, in one place.

The trial gives them to ``SFTConfig``, ``DPOConfig`` and ``GRPOConfig``, the export writes them
into files for TRL's own command line; so the two train the same. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trials.io.errors import HyperparameterError
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan
from trials.spec.records import Compute, Schedule
from trials.spec.schedules import decay_shape, own_share, setting

# Of TRL's own names; the other schedules are in `schedules.py`, and TRL's part in them is constant.
TRL_SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
    "wsd": "warmup_stable_decay",
    "cosine_min_lr": "cosine_with_min_lr",
    "greedy": "greedy",
}
# GreedyLR raises the rate after a better validation loss and lowers it after a worse one, here
# without any patience. Its own bounds, 0.001 and 1, are far above the rates of fine-tuning.
GREEDY_EVALUATIONS = 20
GREEDY_FACTOR = 0.9
GREEDY_BOUNDS = (0.05, 4.0)  # of the learning rate it starts from

# Names of layers in the architectures of transformers, as the end of a module's path.
LORA_TARGETS = {
    "attention": r".*\.(?:[qkvo]_proj|out_proj|qkv_proj|query_key_value|Wqkv|c_attn"
    r"|(?:attn|attention|self_attn|self_attention)\.(?:c_proj|dense))",
    "mlp": r".*\.(?:gate_proj|up_proj|down_proj|gate_up_proj|fc1|fc2|fc_in|fc_out|c_fc"
    r"|dense_h_to_4h|dense_4h_to_h|mlp\.c_proj)",
}

# bf16 gains from a few million parameters on; below, float32 is faster and exact.
BF16_MIN_PARAMETERS = 5_000_000
# Of x86 and ARM processors, as PyTorch names them.
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


@dataclass(frozen=True)
class Execution:
    """Settings of a job that do not depend on its hyperparameters.

    Attributes:
        seed: of data order, dropout and sampled completions.
        processes: that share the batch, one per device.
        on_cpu: no accelerator is used.
        bf16: bfloat16 autocast.
        compute: settings of the device's use; ``bf16`` is what its precision comes to.
    """

    seed: int
    processes: int
    on_cpu: bool
    bf16: bool
    compute: Compute = field(default_factory=Compute)


def use_bf16(precision: Literal["auto", "float32", "bfloat16"], parameters: int) -> bool:
    """True if a model of a size trains in bfloat16; ``auto`` uses it where it is faster."""
    if precision == "auto":
        return parameters >= BF16_MIN_PARAMETERS and has_bf16()
    return precision == "bfloat16"


def has_bf16() -> bool:
    """True if this process's device computes in bfloat16 natively; emulation is slower."""
    import torch  # heavy

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in BF16_INSTRUCTIONS)


def weights_dtype(lora: bool, bf16: bool) -> Literal["bfloat16", "float32"]:
    """Type in which the base model is loaded, with an adapter on top or without.

    Weights that are trained stay in float32 under autocast. Frozen ones are loaded as bfloat16:
    autocast would cast them anew for every generated token, which costs more than the token.
    """
    return "bfloat16" if bf16 and lora else "float32"


def sft_arguments(
    h: Hyperparameters, plan: StagePlan, schedule: Schedule, execution: Execution
) -> dict[str, Any]:
    """Arguments of ``SFTConfig`` for the full plan, all but ``output_dir``.

    Raises:
        HyperparameterError: when the batch does not divide by the processes.
    """
    packing = {"packing": True, "packing_strategy": "bfd"} if h.sft_packing else {}
    return {
        **_common_arguments(h, plan, "sft", schedule, execution),
        **_greedy_arguments(h, plan, schedule),
        **packing,
        "remove_unused_columns": True,
        # Without packing rows were checked to fit; truncation would train on half answers.
        "max_length": schedule.max_length if h.sft_packing else None,
        "neftune_noise_alpha": h.neftune_alpha or None,
        "completion_only_loss": h.sft_completion_only,
        "loss_type": h.sft_loss_type,
    }


def dpo_arguments(
    h: Hyperparameters, plan: StagePlan, schedule: Schedule, execution: Execution
) -> dict[str, Any]:
    """Arguments of ``DPOConfig``, as for SFT. The reference is the model the stage starts from."""
    return {
        **_common_arguments(h, plan, "dpo", schedule, execution),
        "remove_unused_columns": True,
        "max_length": None,  # pairs were checked to fit
        "beta": h.dpo_beta,
        "loss_type": [h.dpo_loss_type],
    }


def grpo_arguments(
    h: Hyperparameters, plan: StagePlan, schedule: Schedule, execution: Execution
) -> dict[str, Any]:
    """Arguments of ``GRPOConfig``, as for SFT, but for ``reward_weights``."""
    common = _common_arguments(h, plan, "rl", schedule, execution)
    passes = common["gradient_accumulation_steps"] * h.rl_updates_per_generation
    _check_groups(h, execution, passes)
    low, high = h.clip_range
    return {
        **common,
        **_vllm_arguments(h, execution),
        "remove_unused_columns": False,  # the reward needs the other columns
        # TRL counts this in forward passes: one buffer is a whole number of optimizer steps.
        "steps_per_generation": passes,
        "num_iterations": h.rl_num_iterations,
        "num_generations": h.rl_num_generations,
        "max_completion_length": h.rl_max_completion_tokens or schedule.max_completion_tokens,
        "mask_truncated_completions": h.rl_mask_truncated,
        "temperature": h.rl_temperature,
        "top_p": h.rl_top_p,
        "top_k": h.rl_top_k,
        "beta": h.rl_beta,
        "epsilon": low,
        "epsilon_high": high,
        "loss_type": h.rl_loss_type,
        "importance_sampling_level": h.sampling_level,
        "scale_rewards": h.rl_scale_rewards,
        "top_entropy_quantile": h.rl_top_entropy_quantile,
        "entropy_coef": h.rl_entropy_coef,
    }


def _check_groups(h: Hyperparameters, execution: Execution, passes: int) -> None:
    """Refuses what moves completions within groups where these do not come out even.

    ``passes`` is the number of forward passes, on each process, that a buffer is shared out to.
    """
    resamples, kept = h.rl_flat_groups == "resample", h.rl_train_generations
    share = h.rl_batch_size * h.rl_updates_per_generation // execution.processes
    if not resamples and kept is None:
        return
    field = "rl_flat_groups='resample'" if resamples else f"rl_train_generations={kept}"
    problems = []
    if share % h.rl_num_generations:
        problems.append(
            f"{field} needs whole groups on each of the {execution.processes} processes, and each "
            f"has {share} completions in groups of {h.rl_num_generations}: change rl_batch_size to "
            f"a multiple of {execution.processes * h.rl_num_generations}"
        )
    elif kept is not None and share // h.rl_num_generations * kept % passes:
        problems.append(
            f"rl_train_generations={kept} of {h.rl_num_generations} leaves "
            f"{share // h.rl_num_generations * kept} completions, which {passes} forward passes "
            "cannot share out evenly: change it, or schedule.micro_batch_size"
        )
    if problems:
        raise HyperparameterError(problems)


def per_device_batches(
    h: Hyperparameters, plan: StagePlan, schedule: Schedule, execution: Execution
) -> dict[Stage, int]:
    """Rows, pairs or completions in one forward pass on one device, for each stage that is run.

    Raises:
        HyperparameterError: with every batch that does not divide by the processes.
    """
    found: dict[Stage, int] = {}
    problems: list[str] = []
    for stage in plan.stages:
        try:
            batch = _batch_arguments(h, stage, schedule, execution)
            found[stage] = batch["per_device_train_batch_size"]
        except HyperparameterError as error:
            problems += error.problems
    if problems:
        raise HyperparameterError(problems)
    return found


def lora_arguments(h: Hyperparameters) -> dict[str, Any] | None:
    """Arguments of PEFT's ``LoraConfig``; None for full weights.

    ``target_modules`` is ``all-linear`` or a regular expression over paths of modules.
    """
    if h.adapter == "full":
        return None
    rank, targets = h.lora_rank or 16, h.lora_targets or "all-linear"
    alpha = rank * (h.lora_alpha_ratio or 2.0)
    return {
        "r": rank,
        # PEFT only divides it by the rank; rounded, a small one would be 0 and train nothing.
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": h.lora_dropout or 0.0,
        "target_modules": LORA_TARGETS.get(targets, targets),
        "task_type": "CAUSAL_LM",
    }


def _common_arguments(
    h: Hyperparameters, plan: StagePlan, stage: Stage, schedule: Schedule, execution: Execution
) -> dict[str, Any]:
    """Arguments of all trainers. TRL's defaults of bf16, checkpointing and logging do not fit."""
    return {
        "seed": execution.seed,
        "max_steps": plan.steps(stage),
        "learning_rate": getattr(h, f"{stage}_learning_rate"),
        **_schedule_arguments(h, plan, stage),
        "weight_decay": h.weight_decay,
        "max_grad_norm": h.max_grad_norm,
        "adam_beta2": h.adam_beta2,
        "use_cpu": execution.on_cpu,
        "bf16": execution.bf16,
        "gradient_checkpointing": execution.compute.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a filtered NaN would hide a diverged trial
        "save_strategy": "no",  # in a trial, its callback says when
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not execution.on_cpu,
        "optim": "adamw_torch",
        "ddp_find_unused_parameters": False,
        **_batch_arguments(h, stage, schedule, execution),
    }


def _schedule_arguments(h: Hyperparameters, plan: StagePlan, stage: Stage) -> dict[str, Any]:
    """The learning rate's shape; warm-up and decay are shares of the full stage."""
    steps, schedule = plan.steps(stage), getattr(h, f"{stage}_schedule")
    if own_share(h, stage, steps) is not None:
        return {"lr_scheduler_type": "constant"}  # multiplied by the trainer's own schedule
    arguments: dict[str, Any] = {"lr_scheduler_type": TRL_SCHEDULES[schedule]}
    if schedule == "greedy":
        rate = h.sft_learning_rate
        low, high = GREEDY_BOUNDS
        kwargs = {"factor": GREEDY_FACTOR, "patience": 0, "min_lr": low * rate}
        # Its default `eps`, the smallest change it makes, is as large as some learning rates.
        return arguments | {"lr_scheduler_kwargs": kwargs | {"max_lr": high * rate, "eps": 0.0}}
    warmup = round(getattr(h, f"{stage}_warmup") * steps)
    arguments["warmup_steps"] = warmup
    if schedule == "wsd":
        decay_steps = round(setting(h, stage, "decay") * steps)
        arguments["lr_scheduler_kwargs"] = {
            "num_decay_steps": min(decay_steps, steps - warmup),
            "decay_type": decay_shape(h, stage),
        }
    elif schedule == "cosine_min_lr":
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": setting(h, stage, "min_lr_ratio")}
    return arguments


def _greedy_arguments(h: Hyperparameters, plan: StagePlan, schedule: Schedule) -> dict[str, Any]:
    """The evaluations whose loss GreedyLR follows, on the validation rows that are scored too."""
    if h.sft_schedule != "greedy":
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": max(1, plan.sft // GREEDY_EVALUATIONS),
        "metric_for_best_model": "loss",
        "greater_is_better": False,
        "per_device_eval_batch_size": schedule.micro_batch_size or schedule.eval_batch_size,
        "prediction_loss_only": True,
    }


def _vllm_arguments(h: Hyperparameters, execution: Execution) -> dict[str, Any]:
    if not execution.compute.vllm:
        return {}
    arguments: dict[str, Any] = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": execution.compute.vllm_memory,
    }
    if h.rl_loss_type == "vespo":  # it weights whole sequences itself
        arguments["vllm_importance_sampling_mode"] = "token_truncate"
    return arguments


def _batch_arguments(
    h: Hyperparameters, stage: Stage, schedule: Schedule, execution: Execution
) -> dict[str, int]:
    """Per-device batch and gradient accumulation that make up a stage's batch over all devices."""
    name, processes, limit = f"{stage}_batch_size", execution.processes, schedule.micro_batch_size
    batch_size: int = getattr(h, name)
    if batch_size % processes:
        problem = f"{name}={batch_size} does not divide by the {processes} processes that share it"
        raise HyperparameterError([f"{problem}: change {name} to a multiple of {processes}"])
    share = batch_size // processes
    per_device = max(size for size in range(1, min(share, limit or share) + 1) if share % size == 0)
    return {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": share // per_device,
    }
