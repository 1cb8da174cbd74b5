"""Arguments as other programs write them, in the names of TRL.

LLaMA-Factory and Axolotl train with the trainers of transformers and TRL and give their settings
names of their own; Weights & Biases wraps every value. What was trained by a method that has no
counterpart here is refused by its name: it must not join the history as something else.

Names and defaults: LLaMA-Factory's ``hparams`` (``finetuning_args.py``, ``data_args.py``), the
configuration reference of Axolotl's documentation, and the files that wandb writes beside a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.translation.common import NoRowError, number

STAGE = "autopipe_stage"  # what a dialect knows of the stage, under a name that no trainer has
ONLY = "SFT, DPO and GRPO have a counterpart here, and no other way of training"

LLAMA_FACTORY_STAGES = {
    "pt": "continued pre-training",
    "sft": "SFT",
    "rm": "a reward model",
    "ppo": "PPO",
    "dpo": "DPO",
    "kto": "KTO",
}
LLAMA_FACTORY = ("finetuning_type", "cutoff_len", "pref_beta", "pref_loss", "dataset_dir")
AXOLOTL = ("micro_batch_size", "base_model", "sequence_len", "sample_packing", "num_epochs")
# Arguments that one of TRL's other trainers has, and none of ours.
OTHER_TRAINERS = {
    "center_rewards_coefficient": "reward modelling",
    "num_ppo_epochs": "PPO",
    "vf_coef": "PPO",
    "rloo_k": "RLOO",
    "normalize_advantages": "RLOO",
    "desirable_weight": "KTO",
    "undesirable_weight": "KTO",
    "cpo_alpha": "CPO",
    "simpo_gamma": "CPO",
    "teacher_model_name_or_path": "distillation",
    "seq_kd": "distillation",
    "lmbda": "distillation",
    "step_separator": "process reward models",
    "missing_eos_penalty": "online DPO",
}


def translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under the names of TRL's trainers, with `STAGE` where the dialect tells it.

    Raises:
        NoRowError: what was trained has no counterpart here.
    """
    arguments = unwrapped(given)
    if dialect_of(arguments) == "LLaMA-Factory":
        return _llama_factory(arguments)
    if dialect_of(arguments) == "Axolotl":
        return _axolotl(arguments)
    for name, trainer in OTHER_TRAINERS.items():
        if arguments.get(name) is not None:
            raise NoRowError(
                f"its argument {name} is one of TRL's trainer for {trainer}: not imported, for "
                f"{ONLY}"
            )
    return arguments


def dialect_of(arguments: Mapping[str, Any]) -> str | None:
    """The program that arguments are of, where their names tell."""
    if arguments.get("stage") in LLAMA_FACTORY_STAGES or any(n in arguments for n in LLAMA_FACTORY):
        return "LLaMA-Factory"
    if "micro_batch_size" in arguments or sum(name in arguments for name in AXOLOTL) >= 2:
        return "Axolotl"
    return None


def unwrapped(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a ``config.yaml`` of Weights & Biases, each an entry ``{desc, value}``."""
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
        raise NoRowError(
            f"this is a LLaMA-Factory file of stage {stage}, "
            f"{LLAMA_FACTORY_STAGES.get(stage, 'unknown')}: not imported, because {ONLY}"
        )
    arguments = dict(given) | _llama_factory_adapter(given) | {STAGE: stage}
    if stage == "sft":
        arguments["completion_only_loss"] = not given.get("train_on_prompt", False)
        return arguments
    loss = given.get("pref_loss", "sigmoid")
    for name, value in (("pref_loss", loss), ("pref_ftx", given.get("pref_ftx") or 0)):
        if value in ("orpo", "simpo", "kto_pair") or (name == "pref_ftx" and value):
            raise NoRowError(
                f"this is a LLaMA-Factory file of stage dpo with {name}={value}: not imported, "
                "because AutoPipe's DPO has no such loss"
            )
    arguments |= {"beta": given.get("pref_beta", 0.1), "loss_type": loss}
    arguments.pop("packing", None)
    return arguments


def _llama_factory_adapter(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("finetuning_type", "lora")
    if kind == "full":
        return {"use_peft": False}
    if kind != "lora":
        raise NoRowError(f"finetuning_type={kind} has no counterpart here: full and lora have")
    rank = number(given.get("lora_rank")) or 8.0
    targets = given.get("lora_target", "all")
    targets = "all-linear" if targets == "all" else _names(targets)
    return {
        "use_peft": True,
        "lora_r": rank,
        "lora_alpha": given.get("lora_alpha") or 2 * rank,
        "lora_dropout": given.get("lora_dropout", 0.0),
        "lora_target_modules": targets,
    }


def _axolotl(given: dict[str, Any]) -> dict[str, Any]:
    method = given.get("rl")
    if method not in (None, False, "dpo", "ipo", "grpo"):
        raise NoRowError(f"this is an Axolotl file with rl: {method}: not imported, because {ONLY}")
    if given.get("reward_model") or given.get("process_reward_model"):
        raise NoRowError(f"this is an Axolotl file of a reward model: not imported, because {ONLY}")
    if text := _axolotl_text(given):
        raise NoRowError(
            f"this is an Axolotl file of continued pre-training ({text}): not imported, because "
            f"{ONLY}"
        )
    nested = given.get("trl")
    arguments = dict(given) | (dict(nested) if isinstance(nested, Mapping) else {})
    for theirs, ours in (
        ("micro_batch_size", "per_device_train_batch_size"),
        ("num_epochs", "num_train_epochs"),
        ("lr_scheduler", "lr_scheduler_type"),
        ("optimizer", "optim"),
        ("rl_beta", "beta"),
        ("dpo_beta", "beta"),
    ):
        if given.get(theirs) is not None:
            arguments[ours] = given[theirs]
    arguments.setdefault("lr_scheduler_type", "cosine")
    floor = number(given.get("cosine_min_lr_ratio"))
    if floor and arguments["lr_scheduler_type"] == "cosine":
        arguments["lr_scheduler_type"] = "cosine_with_min_lr"
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": floor}
    arguments |= _axolotl_adapter(given)
    if not method:
        arguments["packing"] = bool(given.get("sample_packing"))
        arguments["completion_only_loss"] = not given.get("train_on_inputs", False)
        return arguments | {STAGE: "sft"}
    if method == "grpo":
        return arguments | {STAGE: "rl"}
    arguments.setdefault("beta", 0.1)
    arguments["loss_type"] = "ipo" if method == "ipo" else given.get("dpo_loss_type") or "sigmoid"
    return arguments | {STAGE: "dpo"}


def _axolotl_text(given: Mapping[str, Any]) -> str | None:
    """What says that whole texts were trained on, without prompts; None where nothing does."""
    if given.get("pretraining_dataset"):
        return "pretraining_dataset"
    datasets = given.get("datasets")
    for each in datasets if isinstance(datasets, list) else [datasets]:
        kind = each.get("type") if isinstance(each, Mapping) else None
        if kind in ("completion", "pretrain"):
            return f"datasets of type {kind}"
    return None


def _axolotl_adapter(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("adapter")
    if not kind:
        return {"use_peft": False}
    if kind != "lora":
        raise NoRowError(f"adapter: {kind} has no counterpart here: lora, on float weights, has")
    targets = given.get("lora_target_modules")
    linear = given.get("lora_target_linear") or targets == "all-linear"
    return {"use_peft": True, "lora_target_modules": "all-linear" if linear else _names(targets)}


def _names(targets: Any) -> Any:
    """A list of modules, of which some write the names with commas between them."""
    if isinstance(targets, str) and "," in targets:
        return [name.strip() for name in targets.split(",")]
    return targets
