"""The hyperparameters of a trial: one home for names, defaults, legal values and their meaning.

``validate`` refuses a bad configuration before anything is launched, with all problems at once.
What each field becomes in TRL is in ``arguments.py``; docs/hyperparameters.md is the reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from trials.spec.combinations import contradictions

LearningRateSchedule = Literal[
    "linear", "cosine", "constant", "wsd", "cosine_min_lr",
    "rex", "uba", "infinite", "one_cycle", "power",
]  # fmt: skip
SFTSchedule = Literal[LearningRateSchedule, "greedy"]
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
RLCurriculum = Literal["none", "thompson", "cures", "sec", "dump", "adarft", "offline"]

# Clip ranges of the papers, for what is not set: GSPO for sequence levels, ScaleRL for CISPO.
SEQUENCE_CLIP = (3e-4, 4e-4)
LUSPO_CLIP = (2e-3, 2.5e-3)
CISPO_RATIO = 5.0

Steps = Annotated[int | None, Field(ge=0)]
Epochs = Annotated[float | None, Field(ge=0, le=1000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Warmup = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[
    float | None,
    Field(gt=0, le=1, description="wsd, infinite, power: share of the steps of the last fall."),
]
DecayShape = Annotated[
    Literal["cosine", "linear", "1-sqrt", "exponential"] | None,
    Field(description="Of that fall; default cosine for wsd, else exponential."),
]
MinRatio = Annotated[
    float | None,
    Field(ge=0, lt=1, description="cosine_min_lr: end over peak; infinite: floor over peak."),
]
Cooldown = Annotated[
    float | None,
    Field(gt=0, le=1, description="infinite: share of the steps that it falls to its floor over."),
]
Power = Annotated[
    float | None, Field(gt=0, le=2, description="power: exponent of the fall; default 0.5.")
]
Phi = Annotated[
    float | None, Field(gt=0, le=20, description="uba: 2 is a cosine, less holds longer.")
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
    sft_decay_shape: DecayShape = None
    sft_min_lr_ratio: MinRatio = None
    sft_cooldown: Cooldown = None
    sft_power: Power = None
    sft_phi: Phi = None
    sft_batch_size: int = Field(16, ge=1, description="Rows per optimizer step, all devices.")
    sft_rows_share: float = Field(
        1.0, gt=0, le=1, description="Share of the training rows that SFT sees, the same for all."
    )
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
    dpo_decay_shape: DecayShape = None
    dpo_min_lr_ratio: MinRatio = None
    dpo_cooldown: Cooldown = None
    dpo_power: Power = None
    dpo_phi: Phi = None
    dpo_batch_size: int = Field(16, ge=1, description="Pairs per optimizer step, all devices.")
    dpo_beta: float = Field(0.1, gt=0, description="Weight of the distance to the start of DPO.")
    dpo_loss_type: DPOLoss = Field("sigmoid", description="Loss on the two log ratios of a pair.")

    # RL
    rl_learning_rate: Rate = Field(3e-5, description="Peak learning rate of RL.")
    rl_schedule: LearningRateSchedule = Field("constant", description="Shape of the learning rate.")
    rl_warmup: Warmup = Field(0.0, description="Share of the RL steps.")
    rl_decay: Decay = None
    rl_decay_shape: DecayShape = None
    rl_min_lr_ratio: MinRatio = None
    rl_cooldown: Cooldown = None
    rl_power: Power = None
    rl_phi: Phi = None
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
    rl_curriculum: RLCurriculum = Field(
        "none", description="Which prompts completions are generated for."
    )
    rl_curriculum_target: float | None = Field(
        None, gt=0, lt=1, description="thompson, adarft: pass rate to aim at; default 0.5."
    )
    rl_curriculum_rate: float | None = Field(
        None, gt=0, le=1, description="thompson, cures, sec, adarft: of learning; default 0.5."
    )
    rl_curriculum_temperature: float | None = Field(
        None, gt=0, le=10, description="cures, sec, dump, offline: how even; 0.3, dump 0.1."
    )
    rl_curriculum_uniform: float = Field(
        0.2, ge=0, le=1, description="Share of the prompts that a curriculum leaves to chance."
    )
    rl_allocation: Literal["uniform", "knapsack"] = Field(
        "uniform", description="knapsack: more completions where a group gains more from them."
    )
    rl_flat_groups: Literal["keep", "mask", "resample"] = Field(
        "keep", description="What becomes of groups whose rewards are all the same."
    )
    rl_resample_rounds: int | None = Field(
        None, ge=1, le=16, description="Most times that flat groups are drawn anew; default 2."
    )
    rl_train_generations: int | None = Field(
        None, ge=2, description="Completions of a group that are trained on, the most varied ones."
    )
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
        if problems := contradictions(self):
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
