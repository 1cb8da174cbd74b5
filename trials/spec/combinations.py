"""Combinations of hyperparameters that cannot be run, or would not mean what they say.

Each check returns its problems as text that names the field to change; what TRL would refuse
after the model is loaded, or only warn about, is refused here before anything is launched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.spec.hyperparameters import Hyperparameters

LORA_FIELDS = ("lora_rank", "lora_alpha_ratio", "lora_dropout", "lora_targets")
LENGTHS = {
    "sft": ("sft_share", "sft_steps", "sft_epochs"),
    "dpo": ("dpo_share", "dpo_steps", "dpo_epochs"),
    "rl": ("rl_steps", "rl_epochs"),
}
DEFAULT_DECAY = 0.2
# These sum over tokens, so a ratio of the whole sequence would be weighted by its length.
TOKEN_LOSSES = ("dapo", "bnpo", "dr_grpo", "cispo")


def contradictions(h: Hyperparameters) -> list[str]:
    """All problems of a configuration whose single values are legal."""
    return [
        *_lengths(h),
        *_adapter(h),
        *(problem for stage in ("sft", "dpo", "rl") for problem in _schedule(h, stage)),
        *_groups(h),
        *_clipping(h),
    ]


def _lengths(h: Hyperparameters) -> list[str]:
    problems = []
    for names in LENGTHS.values():
        given = [name for name in names if _is_given(h, name)]
        if len(given) > 1:
            values = " and ".join(f"{name}={getattr(h, name)}" for name in given)
            problems.append(f"{values} both set the length of a stage: leave out {given[0]}")
    sft = 0.0 if _is_given(h, "sft_steps") or _is_given(h, "sft_epochs") else h.sft_share
    dpo = 0.0 if _is_given(h, "dpo_steps") or _is_given(h, "dpo_epochs") else h.dpo_share
    if sft + dpo > 1 + 1e-9:
        default = "" if _is_given(h, "sft_share") else " (the default)"
        problems.append(
            f"sft_share={sft}{default} and dpo_share={dpo} are more than 1 together: lower one"
        )
    if h.sft_packing and h.sft_epochs:
        problems.append(
            f"sft_epochs={h.sft_epochs} cannot be counted in steps with sft_packing=True: "
            "give sft_steps or sft_share"
        )
    return problems


def _is_given(h: Hyperparameters, name: str) -> bool:
    return name in h.model_fields_set and getattr(h, name) is not None


def _adapter(h: Hyperparameters) -> list[str]:
    if h.adapter == "lora":
        return []
    return [
        f"{name}={getattr(h, name)} has no meaning with adapter='full': "
        "leave it out or set adapter='lora'"
        for name in LORA_FIELDS
        if getattr(h, name) is not None
    ]


def _schedule(h: Hyperparameters, stage: str) -> list[str]:
    schedule, warmup = getattr(h, f"{stage}_schedule"), getattr(h, f"{stage}_warmup")
    decay, floor = getattr(h, f"{stage}_decay"), getattr(h, f"{stage}_min_lr_ratio")
    problems = [
        f"{stage}_{name}={value} has no meaning with {stage}_schedule={schedule!r}: "
        f"leave it out or set {stage}_schedule={meant!r}"
        for name, value, meant in (
            ("decay", decay, "wsd"),
            ("min_lr_ratio", floor, "cosine_min_lr"),
        )
        if value is not None and schedule != meant
    ]
    decay = DEFAULT_DECAY if decay is None else decay
    if schedule == "wsd" and warmup + decay > 1 + 1e-9:
        problems.append(
            f"{stage}_warmup={warmup} and {stage}_decay={decay} are more than 1 together: lower "
            f"{stage}_decay"
        )
    if schedule == "greedy" and warmup and _is_given(h, f"{stage}_warmup"):
        problems.append(
            f"{stage}_warmup={warmup} has no meaning with {stage}_schedule='greedy', which follows "
            f"the validation loss: leave {stage}_warmup out"
        )
    return problems


def _groups(h: Hyperparameters) -> list[str]:
    completions = h.rl_batch_size * h.rl_updates_per_generation
    if completions % h.rl_num_generations == 0:
        return []
    product = (
        f"rl_batch_size={h.rl_batch_size}"
        if h.rl_updates_per_generation == 1
        else f"rl_batch_size={h.rl_batch_size} times "
        f"rl_updates_per_generation={h.rl_updates_per_generation}"
    )
    return [
        f"{product} is not a multiple of rl_num_generations={h.rl_num_generations}: "
        "change rl_batch_size"
    ]


def _clipping(h: Hyperparameters) -> list[str]:
    problems = []
    loss, level = h.rl_loss_type, h.rl_importance_sampling_level
    low, high = h.clip_range
    if loss == "cispo":
        if high < 1:
            problems.append(
                f"rl_epsilon_high={high} bounds the ratio itself with rl_loss_type='cispo' and "
                "would scale every update down: raise rl_epsilon_high (5 is usual) or leave it out"
            )
    elif high < low:
        problems.append(f"rl_epsilon_high={high} is below rl_epsilon={low}: raise rl_epsilon_high")
    if loss == "luspo" and level == "token":
        problems.append(
            "rl_importance_sampling_level='token' is not what rl_loss_type='luspo' is made for: "
            "leave rl_importance_sampling_level out"
        )
    if loss == "vespo" and level == "sequence":
        problems.append(
            "rl_importance_sampling_level='sequence' would be applied twice with "
            "rl_loss_type='vespo': leave rl_importance_sampling_level out"
        )
    if loss in TOKEN_LOSSES and level == "sequence":
        problems.append(
            f"rl_importance_sampling_level='sequence' with rl_loss_type={loss!r} would weight "
            "completions by their length: set rl_loss_type to 'grpo' (GSPO) or 'luspo'"
        )
    return problems
