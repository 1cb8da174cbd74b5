"""Arguments as LLaMA-Factory, Axolotl and Weights & Biases write them, in the names of TRL.

What was trained by a method that has no counterpart here is refused: it must not join the history
as something else. Names and defaults: LLaMA-Factory's ``hparams`` (``finetuning_args.py``,
``data_args.py``), the configuration reference of Axolotl, and the files that wandb writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tasks.translation.results import RowError
from tasks.translation.values import finite_number

STAGE_KEY = "autopipe_stage"  # under which a dialect tells the stage; no trainer has such a name
SUPPORTED = "SFT, DPO and GRPO have a counterpart here, and no other way of training"

LLAMA_FACTORY_STAGES = {
    "pt": "continued pre-training",
    "sft": "SFT",
    "rm": "a reward model",
    "ppo": "PPO",
    "dpo": "DPO",
    "kto": "KTO",
}
OTHER_LOSSES = ("orpo", "simpo", "kto_pair")
LLAMA_FACTORY = ("finetuning_type", "cutoff_len", "pref_beta", "pref_loss", "dataset_dir")
# Axolotl's names of arguments that TRL has too; a later one precedes an earlier one.
AXOLOTL_NAMES = {
    "micro_batch_size": "per_device_train_batch_size",
    "num_epochs": "num_train_epochs",
    "lr_scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "rl_beta": "beta",
    "dpo_beta": "beta",
}
AXOLOTL = ("micro_batch_size", "base_model", "sequence_len", "sample_packing", "num_epochs")
# Arguments that one of TRL's other trainers has, and none of ours.
OTHER_TRAINERS = {
    "reward modelling": ("center_rewards_coefficient",),
    "PPO": ("num_ppo_epochs", "vf_coef"),
    "RLOO": ("rloo_k", "normalize_advantages"),
    "KTO": ("desirable_weight", "undesirable_weight"),
    "CPO": ("cpo_alpha", "simpo_gamma"),
    "distillation": ("teacher_model_name_or_path", "seq_kd", "lmbda"),
    "process reward models": ("step_separator",),
    "online DPO": ("missing_eos_penalty",),
}


def to_trl_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in TRL's names, with `STAGE_KEY` if known; a RowError if nothing here trains so."""
    arguments = unwrap_wandb(given)
    match detect_dialect(arguments):
        case "LLaMA-Factory":
            return _llama_factory(arguments)
        case "Axolotl":
            return _axolotl(arguments)
    for trainer, names in OTHER_TRAINERS.items():
        if name := next((name for name in names if arguments.get(name) is not None), None):
            raise RowError(
                f"its argument {name} is of TRL's {trainer} trainer: not imported, for {SUPPORTED}"
            )
    return arguments


def detect_dialect(arguments: Mapping[str, Any]) -> Literal["LLaMA-Factory", "Axolotl"] | None:
    """The program that wrote some arguments; None where their names do not tell."""
    if arguments.get("stage") in LLAMA_FACTORY_STAGES or any(n in arguments for n in LLAMA_FACTORY):
        return "LLaMA-Factory"
    if "micro_batch_size" in arguments or sum(name in arguments for name in AXOLOTL) >= 2:
        return "Axolotl"
    return None


def unwrap_wandb(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without the entries ``{desc, value}`` that Weights & Biases wraps around values."""
    wrapped = {
        name
        for name, entry in given.items()
        if isinstance(entry, Mapping) and "value" in entry and set(entry) <= {"desc", "value"}
    }
    if not wrapped:
        return dict(given)
    return {
        name: entry["value"] if name in wrapped else entry
        for name, entry in given.items()
        if name not in ("_wandb", "wandb_version")
    }


def _llama_factory(given: dict[str, Any]) -> dict[str, Any]:
    stage = str(given.get("stage") or "sft")
    if stage not in ("sft", "dpo"):
        raise RowError(
            f"this is a LLaMA-Factory file of stage {stage}, "
            f"{LLAMA_FACTORY_STAGES.get(stage, 'unknown')}: not imported, because {SUPPORTED}"
        )
    arguments = given | _llama_factory_adapter(given) | {STAGE_KEY: stage}
    if stage == "sft":
        return arguments | {"completion_only_loss": not given.get("train_on_prompt", False)}
    loss, sft_weight = given.get("pref_loss", "sigmoid"), given.get("pref_ftx")
    other = f"pref_loss={loss}" if loss in OTHER_LOSSES else f"pref_ftx={sft_weight}"
    if loss in OTHER_LOSSES or sft_weight:
        raise RowError(
            f"this is a LLaMA-Factory file of stage dpo with {other}: not imported, "
            "because AutoPipe's DPO has no such loss"
        )
    arguments.pop("packing", None)
    return arguments | {"beta": given.get("pref_beta", 0.1), "loss_type": loss}


def _llama_factory_adapter(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("finetuning_type", "lora")
    if kind == "full":
        return {"use_peft": False}
    if kind != "lora":
        raise RowError(f"finetuning_type={kind} has no counterpart here: full and lora have")
    rank = finite_number(given.get("lora_rank")) or 8.0
    targets = given.get("lora_target", "all")
    return {
        "use_peft": True,
        "lora_r": rank,
        "lora_alpha": given.get("lora_alpha") or 2 * rank,
        "lora_dropout": given.get("lora_dropout", 0.0),
        "lora_target_modules": "all-linear" if targets == "all" else _names(targets),
    }


def _axolotl(given: dict[str, Any]) -> dict[str, Any]:
    method = given.get("rl")
    _reject_other_axolotl(given, method)
    nested = given.get("trl")
    arguments = given | (dict(nested) if isinstance(nested, Mapping) else {})
    for theirs, ours in AXOLOTL_NAMES.items():
        if given.get(theirs) is not None:
            arguments[ours] = given[theirs]
    arguments.setdefault("lr_scheduler_type", "cosine")
    floor = finite_number(given.get("cosine_min_lr_ratio"))
    if floor and arguments["lr_scheduler_type"] == "cosine":
        arguments["lr_scheduler_type"] = "cosine_with_min_lr"
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": floor}
    arguments |= _axolotl_adapter(given)
    if not method:
        return arguments | {
            "packing": bool(given.get("sample_packing")),
            "completion_only_loss": not given.get("train_on_inputs", False),
            STAGE_KEY: "sft",
        }
    if method == "grpo":
        return arguments | {STAGE_KEY: "rl"}
    arguments.setdefault("beta", 0.1)
    loss = "ipo" if method == "ipo" else given.get("dpo_loss_type") or "sigmoid"
    return arguments | {"loss_type": loss, STAGE_KEY: "dpo"}


def _reject_other_axolotl(given: Mapping[str, Any], method: Any) -> None:
    """Rejects reward models, continued pre-training, and other ways to learn from preferences."""
    datasets = given.get("datasets")
    datasets = datasets if isinstance(datasets, list) else [datasets]
    kinds = [each.get("type") for each in datasets if isinstance(each, Mapping)]
    text = next((f"datasets of type {k}" for k in kinds if k in ("completion", "pretrain")), None)
    if given.get("pretraining_dataset"):
        text = "pretraining_dataset"
    if method not in (None, False, "dpo", "ipo", "grpo"):
        trained = f"with rl: {method}"
    elif given.get("reward_model") or given.get("process_reward_model"):
        trained = "of a reward model"
    elif text:
        trained = f"of continued pre-training ({text})"
    else:
        return
    raise RowError(f"this is an Axolotl file {trained}: not imported, because {SUPPORTED}")


def _axolotl_adapter(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("adapter")
    if not kind:
        return {"use_peft": False}
    if kind != "lora":
        raise RowError(f"adapter: {kind} has no counterpart here: lora, on float weights, has")
    targets = given.get("lora_target_modules")
    linear = given.get("lora_target_linear") or targets == "all-linear"
    return {"use_peft": True, "lora_target_modules": "all-linear" if linear else _names(targets)}


def _names(targets: Any) -> Any:
    """A list of modules; some programs write the names with commas between them."""
    if isinstance(targets, str) and "," in targets:
        return [name.strip() for name in targets.split(",")]
    return targets
