"""From the arguments of TRL's trainers to our hyperparameters: `trials.spec.arguments` reversed.

A run made elsewhere trained one stage, so its row gives all steps to that stage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from tasks.translation.dialects import STAGE_KEY
from tasks.translation.results import RowError
from tasks.translation.values import finite_number
from trials.spec.arguments import LORA_TARGETS, TRL_SCHEDULES
from trials.spec.hyperparameters import DPOLoss
from trials.spec.kinds import Stage

# Arguments that only one of the trainers has; DPO's are among GRPO's, so GRPO is looked at first.
STAGE_MARKERS: tuple[tuple[Stage, tuple[str, ...]], ...] = (
    ("rl", ("num_generations", "steps_per_generation", "max_completion_length", "scale_rewards")),
    ("dpo", ("precompute_ref_log_probs", "f_divergence_type", "reference_free", "rpo_alpha")),
    ("sft", ("packing", "completion_only_loss", "assistant_only_loss", "dataset_text_field")),
)
RL_NAMES = (
    *("num_generations", "num_iterations", "beta", "epsilon", "epsilon_high"),
    *("importance_sampling_level", "temperature", "top_p"),
    *("top_entropy_quantile", "entropy_coef"),
)
# TRL's name of a value, and ours.
SAME_VALUE = {
    "sft": {
        "neftune_noise_alpha": "neftune_alpha",
        "packing": "sft_packing",
        "completion_only_loss": "sft_completion_only",
    },
    "dpo": {"beta": "dpo_beta"},
    "rl": {
        "max_completion_length": "rl_max_completion_tokens",
        "mask_truncated_completions": "rl_mask_truncated",
        **{name: f"rl_{name}" for name in RL_NAMES},
    },
}
COMMON = ("weight_decay", "max_grad_norm", "adam_beta2")
# Without these a row would not say what was run: defaults differ from ours, or between versions.
BASIC = ("learning_rate", "per_device_train_batch_size")
REQUIRED = {"sft": BASIC, "dpo": BASIC, "rl": (*BASIC, "beta", "loss_type")}
SCHEDULES = {theirs: ours for ours, theirs in TRL_SCHEDULES.items()} | {"constant": "constant"}
# All that differ in precision and implementation alone; nor GaLore, which has AdamW in its name.
ADAMW = re.compile(
    r"(?:paged_)?adamw(?:_(?:torch|hf|bnb|apex|anyprecision|fused|xla|npu|4bit|8bit|32bit))*"
)
# How a switch is left off, as text.
OFF_VALUES = ("", "none", "false", "0", "0.0", "[]", "{}", "()")
# LLaMA-Factory's switches of optimizers that it brings itself.
OTHER_OPTIMIZERS = ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon")
LORA_NAMES = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
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
PLAIN_INITS = ("true", "gaussian", "default", *OFF_VALUES)
# Switches that train some of the weights alone, where no adapter is said.
PARTIAL_TRAINING = dict.fromkeys(
    ("unfrozen_parameters", "lisa_step_interval", "lisa_n_layers"), "training of some weights alone"
)
# Arguments that a configuration is made of, whatever the stage.
READ_ARGUMENTS = frozenset(
    (
        *REQUIRED["rl"],
        *(name for names in SAME_VALUE.values() for name in names),
        *(*COMMON, *LORA_NAMES.values(), *OTHER_OPTIMIZERS, *OTHER_ADAPTERS),
        *("gradient_accumulation_steps", "num_processes", "max_steps", "optim", "use_peft"),
        *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
        *("top_k", "scale_rewards", "steps_per_generation"),
    )
)


def infer_stage(arguments: Mapping[str, Any], default: Stage | None) -> Stage:
    """The stage that a trainer's arguments tell, else the default; a RowError without either."""
    if (known := arguments.get(STAGE_KEY)) is not None:
        return cast(Stage, known)
    losses = arguments.get("loss_type")
    loss = losses[0] if isinstance(losses, list) and losses else losses
    preferences = arguments.get("beta") is not None and loss in get_args(DPOLoss)
    # Some write packing: false whatever they train, and DPO once had GRPO's max_completion_length.
    if preferences and arguments.get("num_generations") is None:
        return "dpo"
    for stage, names in STAGE_MARKERS:
        if any(arguments.get(name) is not None for name in names):
            return stage
    if default is None:
        raise RowError("its arguments are not of SFT, DPO or GRPO: give --stage sft, dpo or rl")
    return default


def config_from_arguments(
    arguments: Mapping[str, Any],
    stage: Stage,
    total_steps: int,
    adapter: Mapping[str, Any] | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Our flat configuration of a run, whose batches so many processes shared.

    The arguments are those of ``SFTConfig``, ``DPOConfig`` or ``GRPOConfig``, also of older
    versions; the adapter is PEFT's ``adapter_config.json``, when there is one.

    Raises:
        RowError: when arguments are missing, or mean something that we have no name for.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    missing = [name for name in REQUIRED[stage] if name not in given]
    if missing:
        raise RowError(f"incomplete: {', '.join(missing)} not among its arguments")
    rate = given["learning_rate"]
    if finite_number(rate) is None:
        raise RowError(f"learning_rate: expected a number, found {rate!r}")
    _reject_other_optimizers(given)
    return {
        # RL takes what the other two leave.
        "sft_share": float(stage == "sft"),
        "dpo_share": float(stage == "dpo"),
        f"{stage}_learning_rate": rate,
        f"{stage}_batch_size": _batch_size(given, processes),
        **_schedule(given, stage, total_steps),
        **{name: given[name] for name in COMMON if name in given},
        **{ours: given[name] for name, ours in SAME_VALUE[stage].items() if name in given},
        **_loss(given, stage),
        **(_sampling(given) if stage == "rl" else {}),
        **_adapter(given, adapter),
    }


def _reject_other_optimizers(given: Mapping[str, Any]) -> None:
    """Rejects runs that AdamW did not train: their learning rates would say nothing here."""
    name = str(given.get("optim", "adamw_torch")).removeprefix("OptimizerNames.").lower()
    others = [flag for flag in OTHER_OPTIMIZERS if given.get(flag) in (True, "true", "True")]
    if others or not ADAMW.fullmatch(name):
        found = others[0] if others else f"optim={name[:40]}"
        raise RowError(f"{found} has no counterpart here: trials are trained by AdamW")


def _batch_size(given: Mapping[str, Any], processes: int) -> int:
    sizes = (
        given["per_device_train_batch_size"],
        given.get("gradient_accumulation_steps", 1),
        given.get("num_processes", processes),
    )
    for size in sizes:
        if finite_number(size) is None:
            raise RowError(f"per_device_train_batch_size and its factors: {size!r} is not a number")
    return math.prod(map(int, sizes))


def _schedule(given: Mapping[str, Any], stage: Stage, total_steps: int) -> dict[str, Any]:
    theirs = str(given.get("lr_scheduler_type", "linear"))  # the default in all versions
    theirs = theirs.removeprefix("SchedulerType.").lower()
    if theirs not in SCHEDULES:
        raise RowError(f"lr_scheduler_type={theirs!r} has no counterpart here")
    ours = SCHEDULES[theirs]
    config: dict[str, Any] = {f"{stage}_schedule": ours}
    steps = finite_number(given.get("warmup_steps")) or 0.0
    # A number of steps precedes the share, which newer versions write into the same argument.
    share = steps if steps < 1 else steps / max(1, total_steps)
    warmup = round(share or finite_number(given.get("warmup_ratio")) or 0.0, 6)
    # transformers' "constant" has no warm-up, whatever the arguments say, nor has the greedy one.
    config[f"{stage}_warmup"] = 0.0 if theirs in ("constant", "greedy") else warmup
    options = given.get("lr_scheduler_kwargs")
    if not isinstance(options, Mapping):
        return config
    if ours == "wsd" and "num_decay_steps" in options:
        config[f"{stage}_decay"] = round(options["num_decay_steps"] / max(1, total_steps), 6)
    if ours == "wsd" and options.get("decay_type", "cosine") != "cosine":  # both our default
        config[f"{stage}_decay_shape"] = options["decay_type"]
    if ours == "cosine_min_lr":
        floor = finite_number(options.get("min_lr"))
        ratio = None if floor is None else floor / float(given["learning_rate"])
        if (ratio := options.get("min_lr_rate", ratio)) is not None:
            config[f"{stage}_min_lr_ratio"] = ratio
    return config


def _loss(given: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    loss = given.get("loss_type")
    if isinstance(loss, list):
        if len(loss) != 1:
            raise RowError(f"loss_type={loss}: a sum of losses has no counterpart here")
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
            raise RowError(
                f"steps_per_generation={steps} is not a whole number of optimizer steps of "
                f"gradient_accumulation_steps={accumulated}"
            )
        config["rl_updates_per_generation"] = steps // accumulated
    return config


def _adapter(given: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> dict[str, Any]:
    """LoRA, from the adapter's own file or from the arguments of TRL's command line."""
    if adapter is None and given.get("use_peft"):
        adapter = {ours: given.get(theirs) for ours, theirs in LORA_NAMES.items()}
    if adapter is None:
        _reject_ambiguous_lora(given)
        _reject_switches(given, PARTIAL_TRAINING)
        return {"adapter": "full"}
    _reject_lora_variants(given, adapter)
    if adapter.get("peft_type", "LORA") != "LORA":
        raise RowError(f"peft_type={adapter['peft_type']}: only LoRA has a counterpart here")
    rank, alpha = finite_number(adapter.get("r")), finite_number(adapter.get("lora_alpha"))
    if rank is None or rank < 1 or alpha is None:
        raise RowError("incomplete: rank or alpha of LoRA are not known")
    config: dict[str, Any] = {
        "adapter": "lora",
        "lora_rank": int(rank),
        "lora_alpha_ratio": alpha / rank,
        "lora_dropout": finite_number(adapter.get("lora_dropout")) or 0.0,
    }
    targets = lora_targets(adapter.get("target_modules"))
    return config | ({"lora_targets": targets} if targets else {})


def _reject_ambiguous_lora(given: Mapping[str, Any]) -> None:
    """Rejects settings of an adapter where nothing says whether one was trained."""
    if given.get("use_peft") is not None:
        return
    for name, value in given.items():
        about_lora = name.startswith(("lora_", "use_lora")) or name in OTHER_ADAPTERS
        if about_lora and value is not False and str(value).lower() not in OFF_VALUES:
            raise RowError(
                f"{name}={str(value)[:40]}, and nothing says whether LoRA or all weights were "
                "trained: add use_peft, true or false, to its settings"
            )


def _reject_lora_variants(given: Mapping[str, Any], adapter: Mapping[str, Any]) -> None:
    """Rejects adapters that LoRA's rank and alpha do not describe."""
    nested = given.get("model_init_kwargs")
    for each in (given, nested if isinstance(nested, Mapping) else {}, adapter):
        named = {name.removeprefix("peft_"): value for name, value in each.items()}
        _reject_switches(named, OTHER_ADAPTERS)
        init = str(named.get("init_lora_weights", True)).lower()
        if init not in PLAIN_INITS:
            raise RowError(f"init_lora_weights={init[:40]} has no counterpart here")


def _reject_switches(given: Mapping[str, Any], methods: Mapping[str, str]) -> None:
    for name, method in methods.items():
        if str(value := given.get(name)).lower() not in OFF_VALUES:
            raise RowError(f"{name}={str(value)[:40]}: {method} has no counterpart here")


def lora_targets(modules: Any) -> str | None:
    """Our name of the adapted layers; None when they are not known.

    A part of attention counts as attention, as that is the nearest of the choices.
    """
    if isinstance(modules, str):
        by_pattern = {pattern: name for name, pattern in LORA_TARGETS.items()}
        if modules in ("all-linear", *by_pattern):
            return by_pattern.get(modules, modules)
        modules = [modules]
    kinds = {
        name
        for module in modules or ()
        for name, pattern in LORA_TARGETS.items()
        if re.fullmatch(pattern, f"layer.{module}")
    }
    if len(kinds) > 1:
        return "all-linear"
    return kinds.pop() if kinds else None
