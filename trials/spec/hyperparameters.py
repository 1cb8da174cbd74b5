"""The hyperparameters of a trial: one home for names, defaults, legal values and their meaning.

``validate`` refuses a bad configuration before anything is launched, with all problems at once.
What each field becomes in TRL is in ``arguments.py``; docs/hyperparameters.md is the reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trials.io.errors import HyperparameterError
from trials.io.problems import expectation, meant, place, shown
from trials.spec.kinds import STAGES

LearningRateSchedule = Literal["linear", "cosine", "constant", "wsd", "cosine_min_lr"]
SFTSchedule = Literal["linear", "cosine", "constant", "wsd", "cosine_min_lr", "greedy"]
DPOLoss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "sigmoid_norm",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
]
RLLoss = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
SamplingLevel = Literal["token", "sequence"]

# Clip ranges of the papers, for what is not set: GSPO for sequence levels, ScaleRL for CISPO.
SEQUENCE_CLIP = (3e-4, 4e-4)
LUSPO_CLIP = (2e-3, 2.5e-3)
CISPO_RATIO = 5.0
LORA_FIELDS = ("lora_rank", "lora_alpha_ratio", "lora_dropout", "lora_targets")
LENGTHS = {
    "sft": ("sft_share", "sft_steps", "sft_epochs"),
    "dpo": ("dpo_share", "dpo_steps", "dpo_epochs"),
    "rl": ("rl_steps", "rl_epochs"),
}
DEFAULT_DECAY = 0.2
# These sum over tokens, so a ratio of the whole sequence would be weighted by its length.
TOKEN_LOSSES = ("dapo", "bnpo", "dr_grpo", "cispo")

Steps = Annotated[int | None, Field(ge=0)]
Epochs = Annotated[float | None, Field(ge=0, le=1000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Warmup = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[
    float | None,
    Field(gt=0, le=1, description="Share of the stage's steps that wsd decays over; default 0.2."),
]
MinRatio = Annotated[
    float | None, Field(ge=0, lt=1, description="End of cosine_min_lr over its peak; default 0.1.")
]


class Hyperparameters(BaseModel):
    """Hyperparameters of one trial; ``sft_`` fields rule SFT, ``dpo_`` DPO, ``rl_`` fields GRPO.

    None is "not set". A stage is left out by a share, a number of steps or of epochs of 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # How long each stage is: one way for each
    sft_share: float = Field(
        0.6, ge=0, le=1, description="Share of the schedule's total steps given to SFT."
    )
    sft_steps: Steps = Field(None, description="Optimizer steps, not sft_share.")
    sft_epochs: Epochs = Field(None, description="Passes over the training rows, not sft_share.")
    dpo_share: float = Field(
        0.0, ge=0, le=1, description="Share of the total steps given to DPO, after SFT."
    )
    dpo_steps: Steps = Field(None, description="Optimizer steps, not dpo_share.")
    dpo_epochs: Epochs = Field(None, description="Passes over the preference pairs, not dpo_share.")
    rl_steps: Steps = Field(
        None, description="Optimizer steps; not set: what the other stages leave."
    )
    rl_epochs: Epochs = Field(None, description="Passes over the training prompts, not rl_steps.")

    # All stages
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, all stages.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping, all stages.")
    adam_beta2: float = Field(
        0.999, gt=0, lt=1, description="AdamW's decay of squared gradients, all stages."
    )
    adapter: Literal["full", "lora"] = Field(
        "full", description="Train all weights, or low-rank adapters on frozen ones."
    )
    lora_rank: int | None = Field(None, ge=1, le=1024, description="Default 16 with LoRA.")
    lora_alpha_ratio: float | None = Field(None, gt=0, description="alpha / rank; default 2.")
    lora_dropout: float | None = Field(None, ge=0, lt=1, description="Default 0.")
    lora_targets: Literal["all-linear", "attention", "mlp"] | None = Field(
        None, description="Layers that get adapters; default all-linear."
    )

    # SFT
    sft_learning_rate: Rate = Field(1e-3, description="Peak learning rate of SFT.")
    sft_schedule: SFTSchedule = Field("cosine", description="Shape of the learning rate.")
    sft_warmup: Warmup = Field(0.05, description="Share of the SFT steps.")
    sft_decay: Decay = None
    sft_min_lr_ratio: MinRatio = None
    sft_batch_size: int = Field(16, ge=1, description="Rows per optimizer step, all devices.")
    sft_packing: bool = Field(
        False, description="Pack rows into sequences of the schedule's max_length."
    )
    sft_loss_type: Literal["nll", "dft"] = Field("nll", description="dft: dynamic fine-tuning.")
    sft_completion_only: bool = Field(True, description="No loss on the tokens of the prompt.")
    neftune_alpha: float = Field(0.0, ge=0, description="NEFTune noise in SFT; 0 is off.")

    # DPO
    dpo_learning_rate: Rate = Field(1e-5, description="Peak learning rate of DPO.")
    dpo_schedule: LearningRateSchedule = Field("linear", description="Shape of the learning rate.")
    dpo_warmup: Warmup = Field(0.1, description="Share of the DPO steps.")
    dpo_decay: Decay = None
    dpo_min_lr_ratio: MinRatio = None
    dpo_batch_size: int = Field(16, ge=1, description="Pairs per optimizer step, all devices.")
    dpo_beta: float = Field(0.1, gt=0, description="Weight of the distance to the start of DPO.")
    dpo_loss_type: DPOLoss = Field("sigmoid", description="Loss on the two log ratios of a pair.")

    # RL
    rl_learning_rate: Rate = Field(3e-5, description="Peak learning rate of RL.")
    rl_schedule: LearningRateSchedule = Field("constant", description="Shape of the learning rate.")
    rl_warmup: Warmup = Field(0.0, description="Share of the RL steps.")
    rl_decay: Decay = None
    rl_min_lr_ratio: MinRatio = None
    rl_batch_size: int = Field(16, ge=2, description="Completions per step, all devices.")
    rl_num_generations: int = Field(8, ge=2, description="Completions per prompt (group size).")
    rl_updates_per_generation: int = Field(
        1, ge=1, le=64, description="Optimizer steps that share out one buffer of completions."
    )
    rl_num_iterations: int = Field(
        1, ge=1, le=64, description="Times that every buffer of completions is trained on."
    )
    rl_beta: float = Field(
        0.01, ge=0, description="Weight of the KL to the model that RL starts from; 0 is off."
    )
    rl_epsilon: float = Field(
        0.2, gt=0, lt=1, description="Lower clip range; not set at sequence level: of the paper."
    )
    rl_epsilon_high: float | None = Field(
        None, gt=0, le=1000, description="Upper; default rl_epsilon. With cispo the largest ratio."
    )
    rl_loss_type: RLLoss = Field("dapo", description="Policy loss and how tokens are averaged.")
    rl_importance_sampling_level: SamplingLevel | None = Field(
        None, description="What a ratio is taken of; default token, with luspo sequence."
    )
    rl_scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="Whose standard deviation advantages are divided by."
    )
    rl_temperature: float = Field(1.0, gt=0, le=5, description="Of sampled completions.")
    rl_top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 is off.")
    rl_top_k: int = Field(0, ge=0, description="Sample from the k likeliest tokens; 0 is off.")
    rl_max_completion_tokens: int | None = Field(
        None, ge=1, description="Longest completion in RL; not set: the schedule's."
    )
    rl_mask_truncated: bool = Field(
        False, description="No loss on completions that were cut off at the limit."
    )
    rl_top_entropy_quantile: float = Field(
        1.0, gt=0, le=1, description="Share of tokens, by entropy, that policy loss is taken on."
    )
    rl_entropy_coef: float = Field(0.0, ge=0, le=1, description="Weight of an entropy bonus.")
    rl_format_weight: float = Field(
        0.0, ge=0, le=10, description="Weight of the format term in the RL reward."
    )
    rl_length_weight: float = Field(
        0.0, ge=0, le=10, description="Weight of the overlong term in the RL reward."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        number = not {int, float}.isdisjoint(get_args(annotation) or (annotation,))
        if isinstance(value, bool) and number:  # True is a whole number to Python
            raise ValueError("expected a number")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := _contradictions(self):
            raise HyperparameterError(problems)
        return self

    @property
    def sampling_level(self) -> SamplingLevel:
        """Level of the importance ratio that is used."""
        implied: SamplingLevel = "sequence" if self.rl_loss_type == "luspo" else "token"
        return self.rl_importance_sampling_level or implied

    @property
    def clip_range(self) -> tuple[float, float]:
        """Lower and upper clip range that are used; CISPO's upper one bounds the ratio itself."""
        low, high = self.rl_epsilon, self.rl_epsilon_high
        if self.sampling_level == "sequence" and "rl_epsilon" not in self.model_fields_set:
            low, usual = LUSPO_CLIP if self.rl_loss_type == "luspo" else SEQUENCE_CLIP
            return low, usual if high is None else high
        if high is None:
            high = CISPO_RATIO if self.rl_loss_type == "cispo" else low
        return low, high


def _contradictions(h: Hyperparameters) -> list[str]:
    """Combinations that cannot be run, or would not mean what they say.

    What TRL would refuse after the model is loaded, or only warn about, is refused here before
    anything is launched; each problem names the field to change.
    """
    schedules = chain.from_iterable(_schedule(h, stage) for stage in STAGES)
    return [*_lengths(h), *_adapter(h), *schedules, *_groups(h), *_clipping(h)]


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
    updates = f" times rl_updates_per_generation={h.rl_updates_per_generation}"
    return [
        f"rl_batch_size={h.rl_batch_size}{updates * (h.rl_updates_per_generation > 1)} is not a "
        f"multiple of rl_num_generations={h.rl_num_generations}: change rl_batch_size"
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


def validate(config: Mapping[str, Any]) -> Hyperparameters:
    """Checks a flat configuration and fills in defaults.

    A value of None or NaN means "not set" (an inactive conditional hyperparameter).

    Raises:
        HyperparameterError: with every problem found, each naming the field to change.
    """
    given = {key: value for key, value in config.items() if not is_unset(value)}
    try:
        return Hyperparameters(**given)
    except ValidationError as error:
        problems = [_describe(detail) for detail in error.errors()]
        problems += _other_problems(given, {str(detail["loc"][0]) for detail in error.errors()})
        raise HyperparameterError(problems) from None


def _other_problems(given: Mapping[str, Any], broken: set[str]) -> list[str]:
    """Contradictions between fields, none of which is among the ``broken`` ones."""
    try:
        Hyperparameters(**{key: value for key, value in given.items() if key not in broken})
    except HyperparameterError as error:
        named = broken & Hyperparameters.model_fields.keys()
        return [problem for problem in error.problems if not any(key in problem for key in named)]
    return []


def is_unset(value: Any) -> bool:
    """True if a value of a configuration means "not set": None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _describe(detail: Any) -> str:
    name = place(detail)
    if detail["type"] == "extra_forbidden":
        near = meant(name, Hyperparameters.model_fields)
        return f"{name!r} is not a hyperparameter of this trial{near}"
    return f"{name}={shown(detail['input'])}: {expectation(detail)}"
