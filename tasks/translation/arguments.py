"""From the arguments of TRL's trainers to our hyperparameters: `trials.spec.arguments` reversed.

A run made elsewhere trained one stage, so its row gives all steps to that stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from tasks.translation.common import NoRowError, number
from tasks.translation.dialects import STAGE
from trials.spec.arguments import LORA_TARGETS, TRL_SCHEDULES
from trials.spec.hyperparameters import DPOLoss
from trials.spec.records import Stage

# Arguments that only one of the trainers has; DPO's are among GRPO's, so GRPO is looked at first.
OWN_ARGUMENTS: tuple[tuple[Stage, tuple[str, ...]], ...] = (
    ("rl", ("num_generations", "steps_per_generation", "max_completion_length", "scale_rewards")),
    ("dpo", ("precompute_ref_log_probs", "f_divergence_type", "reference_free", "rpo_alpha")),
    ("sft", ("packing", "completion_only_loss", "assistant_only_loss", "dataset_text_field")),
)
# Ours from theirs, where the value is the same.
SAME = {
    "sft": {"neftune_noise_alpha": "neftune_alpha", "packing": "sft_packing"}
    | {"completion_only_loss": "sft_completion_only"},
    "dpo": {"beta": "dpo_beta"},
    "rl": {
        "num_generations": "rl_num_generations",
        "num_iterations": "rl_num_iterations",
        "beta": "rl_beta",
        "epsilon": "rl_epsilon",
        "epsilon_high": "rl_epsilon_high",
        "importance_sampling_level": "rl_importance_sampling_level",
        "temperature": "rl_temperature",
        "top_p": "rl_top_p",
        "max_completion_length": "rl_max_completion_tokens",
        "mask_truncated_completions": "rl_mask_truncated",
        "top_entropy_quantile": "rl_top_entropy_quantile",
        "entropy_coef": "rl_entropy_coef",
    },
}
COMMON = ("weight_decay", "max_grad_norm", "adam_beta2")
# Without these a row would not say what was run: defaults differ from ours, or between versions.
NEEDED = {
    "sft": ("learning_rate", "per_device_train_batch_size"),
    "dpo": ("learning_rate", "per_device_train_batch_size"),
    "rl": ("learning_rate", "per_device_train_batch_size", "beta", "loss_type"),
}
SCHEDULES = {theirs: ours for ours, theirs in TRL_SCHEDULES.items()} | {"constant": "constant"}
# All that differ in precision and implementation alone; nor GaLore, which has AdamW in its name.
ADAMW = re.compile(
    r"(?:paged_)?adamw(?:_(?:torch|hf|bnb|apex|anyprecision|fused|xla|npu|4bit|8bit|32bit))*"
)
# How a switch is left off, as text.
OFF = ("", "none", "false", "0", "0.0", "[]", "{}", "()")
# LLaMA-Factory's switches of optimizers that it brings itself.
OTHER_OPTIMIZERS = ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon")
LORA_NAMES = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"} | {
    "target_modules": "lora_target_modules"
}
# Switches of methods that share LoRA's rank and alpha and are not it, in PEFT, TRL, LLaMA-Factory
# and Axolotl, which puts ``peft_`` before PEFT's own.
OTHER_ADAPTERS = {
    "use_dora": "DoRA",
    "use_rslora": "rank-stabilized LoRA",
    "use_qalora": "QA-LoRA",
    "relora": "ReLoRA",
    "relora_steps": "ReLoRA",
    "loraplus_lr_ratio": "LoRA+",
    "pissa_init": "PiSSA",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "LoRA of replicated layers",
    "layers_to_transform": "LoRA of some layers alone",
    "rank_pattern": "LoRA of several ranks",
    "alpha_pattern": "LoRA of several alphas",
    "quantization_bit": "LoRA on quantized weights",
    "load_in_4bit": "LoRA on quantized weights",
    "load_in_8bit": "LoRA on quantized weights",
}
PLAIN_INITS = ("true", "gaussian", "default", *OFF)
# Switches that train some of the weights alone, where no adapter is said.
PARTS = ("unfrozen_parameters", "lisa_step_interval", "lisa_n_layers")
# Arguments that a configuration is made of, whatever the stage.
READ = frozenset(
    (
        *(name for names in NEEDED.values() for name in names),
        *(name for names in SAME.values() for name in names),
        *(*COMMON, *LORA_NAMES.values(), *OTHER_OPTIMIZERS, *OTHER_ADAPTERS),
        *("gradient_accumulation_steps", "num_processes", "max_steps", "optim", "use_peft"),
        *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
        *("top_k", "scale_rewards", "steps_per_generation"),
    )
)


def stage_of(arguments: Mapping[str, Any], told: Stage | None) -> Stage:
    """Which trainer the arguments are of.

    Raises:
        NoRowError: when they do not tell, and the user did not.
    """
    known = arguments.get(STAGE)
    if known is not None:
        return cast(Stage, known)
    losses = arguments.get("loss_type")
    loss = losses[0] if isinstance(losses, list) and losses else losses
    preferences = arguments.get("beta") is not None and loss in get_args(DPOLoss)
    # Some write packing: false whatever they train, and DPO once had GRPO's max_completion_length.
    if preferences and arguments.get("num_generations") is None:
        return "dpo"
    for stage, names in OWN_ARGUMENTS:
        if any(arguments.get(name) is not None for name in names):
            return stage
    if told is None:
        raise NoRowError(
            "its arguments are not those of SFT, DPO or GRPO: give --stage sft, dpo or rl"
        )
    return told


def config_of(
    arguments: Mapping[str, Any],
    stage: Stage,
    total_steps: int,
    adapter: Mapping[str, Any] | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Our flat configuration of a run.

    Args:
        arguments: of ``SFTConfig``, ``DPOConfig`` or ``GRPOConfig``, also those of older versions.
        stage: that was trained.
        total_steps: optimizer steps of the whole run.
        adapter: PEFT's ``adapter_config.json``, when there is one.
        processes: devices that shared a batch.

    Raises:
        NoRowError: when arguments are missing, or mean something that we have no name for.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    missing = [name for name in NEEDED[stage] if name not in given]
    if missing:
        raise NoRowError(f"incomplete: {', '.join(missing)} not among its arguments")
    if number(given["learning_rate"]) is None:
        raise NoRowError(f"learning_rate: expected a number, found {given['learning_rate']!r}")
    _refuse_optimizer(given)
    config: dict[str, Any] = _shares(stage)
    config[f"{stage}_learning_rate"] = given["learning_rate"]
    config[f"{stage}_batch_size"] = _batch(given, processes)
    config |= _schedule(given, stage, total_steps)
    config |= {name: given[name] for name in COMMON if name in given}
    config |= {ours: given[theirs] for theirs, ours in SAME[stage].items() if theirs in given}
    config |= _loss(given, stage)
    if stage == "rl":
        config |= _sampling(given)
    return config | _adapter(given, adapter)


def _refuse_optimizer(given: Mapping[str, Any]) -> None:
    """Refuses what was not trained by AdamW, whose learning rates would say nothing here.

    Raises:
        NoRowError: naming the optimizer.
    """
    name = str(given.get("optim", "adamw_torch")).removeprefix("OptimizerNames.").lower()
    others = [flag for flag in OTHER_OPTIMIZERS if given.get(flag) in (True, "true", "True")]
    if others or not ADAMW.fullmatch(name):
        found = others[0] if others else f"optim={name[:40]}"
        raise NoRowError(f"{found} has no counterpart here: trials are trained by AdamW")


def _shares(stage: Stage) -> dict[str, Any]:
    """RL takes what the other two leave."""
    return {"sft_share": float(stage == "sft"), "dpo_share": float(stage == "dpo")}


def _batch(given: Mapping[str, Any], processes: int) -> int:
    sizes = (
        given["per_device_train_batch_size"],
        given.get("gradient_accumulation_steps", 1),
        given.get("num_processes", processes),
    )
    product = 1
    for size in sizes:
        if number(size) is None:
            raise NoRowError(f"per_device_train_batch_size and its factors: {size!r} is no number")
        product *= int(size)
    return product


def _schedule(given: Mapping[str, Any], stage: Stage, total_steps: int) -> dict[str, Any]:
    theirs = str(given.get("lr_scheduler_type", "linear"))  # the default in all versions
    theirs = theirs.removeprefix("SchedulerType.").lower()
    if theirs not in SCHEDULES:
        raise NoRowError(f"lr_scheduler_type={theirs!r} has no counterpart here")
    ours = SCHEDULES[theirs]
    config: dict[str, Any] = {f"{stage}_schedule": ours}
    steps = number(given.get("warmup_steps")) or 0.0
    # A number of steps goes before the share, which newer versions write into the same argument.
    share = steps if steps < 1 else steps / max(1, total_steps)
    warmup = round(share or number(given.get("warmup_ratio")) or 0.0, 6)
    # transformers' "constant" has no warm-up, whatever the arguments say, nor has the greedy one.
    config[f"{stage}_warmup"] = 0.0 if theirs in ("constant", "greedy") else warmup
    more = given.get("lr_scheduler_kwargs")
    more = more if isinstance(more, Mapping) else {}
    if ours == "wsd" and "num_decay_steps" in more:
        config[f"{stage}_decay"] = round(more["num_decay_steps"] / max(1, total_steps), 6)
    if ours == "cosine_min_lr":
        floor = number(more.get("min_lr"))
        rate = more.get(
            "min_lr_rate", None if floor is None else floor / float(given["learning_rate"])
        )
        if rate is not None:
            config[f"{stage}_min_lr_ratio"] = rate
    return config


def _loss(given: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    loss = given.get("loss_type")
    if isinstance(loss, list):
        if len(loss) != 1:
            raise NoRowError(f"loss_type={loss}: a sum of losses has no counterpart here")
        loss = loss[0]
    return {} if loss is None else {f"{stage}_loss_type": loss}


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if "top_k" in given:  # some versions write -1 for off
        config["rl_top_k"] = max(0, int(given["top_k"]))
    if "scale_rewards" in given:
        scale = given["scale_rewards"]
        config["rl_scale_rewards"] = {True: "group", False: "none"}.get(scale, scale)
    if "steps_per_generation" in given:
        steps = int(given["steps_per_generation"])
        accumulated = int(given.get("gradient_accumulation_steps", 1))
        if steps % accumulated:
            raise NoRowError(
                f"steps_per_generation={steps} is no whole number of optimizer steps of "
                f"gradient_accumulation_steps={accumulated}"
            )
        config["rl_updates_per_generation"] = steps // accumulated
    return config


def _adapter(given: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> dict[str, Any]:
    """LoRA, from the adapter's own file or from the arguments of TRL's command line."""
    if adapter is None and given.get("use_peft"):
        adapter = {ours: given.get(theirs) for ours, theirs in LORA_NAMES.items()}
    if adapter is None:
        _refuse_untold(given)
        _refuse_switch(given, dict.fromkeys(PARTS, "training of some weights alone"))
        return {"adapter": "full"}
    _refuse_variants(given, adapter)
    if adapter.get("peft_type", "LORA") != "LORA":
        raise NoRowError(f"peft_type={adapter['peft_type']}: only LoRA has a counterpart here")
    rank, alpha = number(adapter.get("r")), number(adapter.get("lora_alpha"))
    if rank is None or rank < 1 or alpha is None:
        raise NoRowError("incomplete: rank or alpha of LoRA are not known")
    config: dict[str, Any] = {
        "adapter": "lora",
        "lora_rank": int(rank),
        "lora_alpha_ratio": alpha / rank,
        "lora_dropout": number(adapter.get("lora_dropout")) or 0.0,
    }
    targets = lora_targets(adapter.get("target_modules"))
    return config | ({"lora_targets": targets} if targets else {})


def _refuse_untold(given: Mapping[str, Any]) -> None:
    """Refuses settings of an adapter where nothing says whether one was trained.

    Raises:
        NoRowError: naming the setting.
    """
    if given.get("use_peft") is not None:
        return
    for name, value in given.items():
        about = name.startswith(("lora_", "use_lora")) or name in OTHER_ADAPTERS
        if about and value is not False and str(value).lower() not in OFF:
            raise NoRowError(
                f"{name}={str(value)[:40]}, and nothing says whether LoRA or all weights were "
                "trained: add use_peft, true or false, to its settings"
            )


def _refuse_variants(given: Mapping[str, Any], adapter: Mapping[str, Any]) -> None:
    """Refuses adapters that LoRA's rank and alpha do not describe.

    Raises:
        NoRowError: naming the switch.
    """
    nested = given.get("model_init_kwargs")
    for each in (given, nested if isinstance(nested, Mapping) else {}, adapter):
        named = {name.removeprefix("peft_"): value for name, value in each.items()}
        _refuse_switch(named, OTHER_ADAPTERS)
        init = str(named.get("init_lora_weights", True)).lower()
        if init not in PLAIN_INITS:
            raise NoRowError(f"init_lora_weights={init[:40]} has no counterpart here")


def _refuse_switch(given: Mapping[str, Any], names: Mapping[str, str]) -> None:
    for name, method in names.items():
        if str(value := given.get(name)).lower() not in OFF:
            raise NoRowError(f"{name}={str(value)[:40]}: {method} has no counterpart here")


def lora_targets(modules: Any) -> str | None:
    """Our name of the adapted layers; None when they are not known.

    A part of attention counts as attention, as that is the nearest of the choices.
    """
    if isinstance(modules, str):
        by_pattern = {pattern: name for name, pattern in LORA_TARGETS.items()}
        if modules in ("all-linear", *by_pattern):
            return by_pattern.get(modules, modules)
        modules = [modules]
    if not modules:
        return None
    kinds = {
        name
        for module in modules
        for name, pattern in LORA_TARGETS.items()
        if re.fullmatch(pattern, f"layer.{module}")
    }
    if not kinds:
        return None
    return kinds.pop() if len(kinds) == 1 else "all-linear"
