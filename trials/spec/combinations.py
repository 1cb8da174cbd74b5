"""Combinations of hyperparameters that cannot be run, or would not mean what they say."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from trials.spec.kinds import STAGES, Stage
from trials.spec.schedules import MEANINGFUL, is_given, setting, warmup_share

if TYPE_CHECKING:
    from trials.spec.hyperparameters import Hyperparameters

LORA_FIELDS = ("lora_rank", "lora_alpha_ratio", "lora_dropout", "lora_targets")
LENGTHS = {
    "sft": ("sft_share", "sft_steps", "sft_epochs"),
    "dpo": ("dpo_share", "dpo_steps", "dpo_epochs"),
    "rl": ("rl_steps", "rl_epochs"),
}
CURRICULA = ("thompson", "cures", "sec", "dump", "adarft", "offline")
# A field, the one that gives it a meaning, and the values with which it has one.
ROLLOUT_FIELDS = (
    ("rl_curriculum_target", "rl_curriculum", ("thompson", "adarft")),
    ("rl_curriculum_rate", "rl_curriculum", ("thompson", "cures", "sec", "adarft")),
    ("rl_curriculum_temperature", "rl_curriculum", ("cures", "sec", "dump", "offline")),
    ("rl_curriculum_uniform", "rl_curriculum", CURRICULA),
    ("rl_resample_rounds", "rl_flat_groups", ("resample",)),
)
# These sum over tokens, so a ratio of the whole sequence would be weighted by its length.
TOKEN_LOSSES = ("dapo", "bnpo", "dr_grpo", "cispo")


def contradictions(h: Hyperparameters) -> list[str]:
    """Combinations that cannot be run, or would not mean what they say.

    What TRL would refuse after the model is loaded, or only warn about, is refused here before
    anything is launched; each problem names the field to change.
    """
    schedules = chain.from_iterable(_schedule(h, stage) for stage in STAGES)
    return [*_lengths(h), *_adapter(h), *schedules, *_groups(h), *_rollouts(h), *_clipping(h)]


def rollout_settings(h: Hyperparameters) -> list[str]:
    """Fields with which RL fills its buffers of completions in another way than TRL alone."""
    fields = {"rl_curriculum": "none", "rl_allocation": "uniform", "rl_flat_groups": "keep"}
    changed = [name for name, usual in fields.items() if getattr(h, name) != usual]
    return [*changed, *(["rl_train_generations"] if h.rl_train_generations is not None else [])]


def _lengths(h: Hyperparameters) -> list[str]:
    problems = []
    for names in LENGTHS.values():
        given = [name for name in names if is_given(h, name)]
        if len(given) > 1:
            values = " and ".join(f"{name}={getattr(h, name)}" for name in given)
            problems.append(f"{values} both set the length of a stage: leave out {given[0]}")
    sft = 0.0 if is_given(h, "sft_steps") or is_given(h, "sft_epochs") else h.sft_share
    dpo = 0.0 if is_given(h, "dpo_steps") or is_given(h, "dpo_epochs") else h.dpo_share
    if sft + dpo > 1 + 1e-9:
        default = "" if is_given(h, "sft_share") else " (the default)"
        problems.append(
            f"sft_share={sft}{default} and dpo_share={dpo} are more than 1 together: lower one"
        )
    if h.sft_packing and h.sft_epochs:
        problems.append(
            f"sft_epochs={h.sft_epochs} cannot be counted in steps with sft_packing=True: "
            "give sft_steps or sft_share"
        )
    return problems


def _adapter(h: Hyperparameters) -> list[str]:
    if h.adapter == "lora":
        return []
    return [
        f"{name}={getattr(h, name)} has no meaning with adapter='full': "
        "leave it out or set adapter='lora'"
        for name in LORA_FIELDS
        if getattr(h, name) is not None
    ]


def _schedule(h: Hyperparameters, stage: Stage) -> list[str]:
    schedule = getattr(h, f"{stage}_schedule")
    problems = []
    for name, schedules in MEANINGFUL.items():
        value = getattr(h, f"{stage}_{name}")
        if value is not None and schedule not in schedules:
            fitting = " or ".join(map(repr, schedules))
            problems.append(
                f"{stage}_{name}={value} has no meaning with {stage}_schedule={schedule!r}: "
                f"leave it out or set {stage}_schedule={fitting}"
            )
    warmup = warmup_share(h, stage)
    named = f"{stage}_warmup={warmup}"
    parts = {"infinite": ("cooldown", "decay"), "wsd": ("decay",), "power": ("decay",)}
    others = {name: setting(h, stage, name) for name in parts.get(schedule, ())}
    if warmup + sum(others.values()) > 1 + 1e-9:
        *first, last = named, *(f"{stage}_{name}={value}" for name, value in others.items())
        problems.append(
            f"{', '.join(first)} and {last} are more than 1 together: lower {last.split('=')[0]}"
        )
    if schedule == "greedy" and warmup and is_given(h, f"{stage}_warmup"):
        problems.append(
            f"{named} has no meaning with {stage}_schedule='greedy', which follows "
            f"the validation loss: leave {stage}_warmup out"
        )
    return problems


def _groups(h: Hyperparameters) -> list[str]:
    completions = h.rl_batch_size * h.rl_updates_per_generation
    if completions % h.rl_num_generations == 0:
        return []
    updates = f" times rl_updates_per_generation={h.rl_updates_per_generation}"
    return [
        f"rl_batch_size={h.rl_batch_size}{updates * (h.rl_updates_per_generation > 1)} is not a "
        f"multiple of rl_num_generations={h.rl_num_generations}: change rl_batch_size"
    ]


def _rollouts(h: Hyperparameters) -> list[str]:
    problems = []
    for field, parent, meant in ROLLOUT_FIELDS:
        value, chosen = getattr(h, field), getattr(h, parent)
        if value is not None and is_given(h, field) and chosen not in meant:
            fitting = " or ".join(map(repr, meant))
            problems.append(
                f"{field}={value} has no meaning with {parent}={chosen!r}: "
                f"leave it out or set {parent}={fitting}"
            )
    trained = h.rl_train_generations
    if trained is not None and trained > h.rl_num_generations:
        problems.append(
            f"rl_train_generations={trained} is more than rl_num_generations="
            f"{h.rl_num_generations}, which are generated: lower rl_train_generations"
        )
    whole = h.rl_batch_size * h.rl_updates_per_generation // h.rl_num_generations
    if trained is not None and (whole * trained) % h.rl_updates_per_generation:
        problems.append(
            f"rl_train_generations={trained} of {whole} groups cannot be shared out evenly to "
            f"rl_updates_per_generation={h.rl_updates_per_generation} steps: change one of them"
        )
    if trained is not None and h.rl_allocation == "knapsack":
        problems.append(
            f"rl_train_generations={trained} chooses within groups of one size, and "
            "rl_allocation='knapsack' makes groups of several: leave one of them out"
        )
    if h.rl_flat_groups == "resample" and h.rl_allocation == "knapsack":
        problems.append(
            "rl_flat_groups='resample' replaces groups of one size, and rl_allocation='knapsack' "
            "makes groups of several: set rl_flat_groups='mask'"
        )
    return problems


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
