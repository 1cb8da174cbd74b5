"""The hyperparameters of a trial: one home for names, defaults, legal values and their meaning.

``validate`` refuses a bad configuration before anything is launched, with all problems at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trials.errors import HyperparameterError

LearningRateSchedule = Literal["linear", "cosine", "constant"]


class Hyperparameters(BaseModel):
    """Hyperparameters of one SFT -> RL trial. ``sft_`` fields rule SFT, ``rl_`` fields GRPO."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sft_share: float = Field(0.6, ge=0, le=1, description="Share of the steps given to SFT.")

    sft_learning_rate: float = Field(1e-3, gt=0, le=1)
    sft_schedule: LearningRateSchedule = "cosine"
    sft_warmup: float = Field(0.05, ge=0, lt=1, description="Share of the SFT steps.")
    sft_batch_size: int = Field(16, ge=1, description="Rows per optimizer step, all devices.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, both stages.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping, both stages.")
    neftune_alpha: float = Field(0.0, ge=0, description="NEFTune noise in SFT; 0 is off.")

    adapter: Literal["full", "lora"] = "full"
    lora_rank: int | None = Field(None, ge=1, le=1024, description="Default 16 with LoRA.")
    lora_alpha_ratio: float | None = Field(None, gt=0, description="alpha / rank; default 2.")
    lora_dropout: float | None = Field(None, ge=0, lt=1, description="Default 0.")

    rl_learning_rate: float = Field(3e-5, gt=0, le=1)
    rl_schedule: LearningRateSchedule = "constant"
    rl_warmup: float = Field(0.0, ge=0, lt=1, description="Share of the RL steps.")
    rl_batch_size: int = Field(16, ge=2, description="Completions per step, all devices.")
    rl_num_generations: int = Field(8, ge=2, description="Completions per prompt (group size).")
    rl_beta: float = Field(0.01, ge=0, description="Weight of the KL to the SFT model; 0 is off.")
    rl_epsilon: float = Field(0.2, gt=0, lt=1, description="Lower clip range.")
    rl_epsilon_high: float | None = Field(None, gt=0, description="Upper; default rl_epsilon.")
    rl_temperature: float = Field(1.0, gt=0, le=5)
    rl_loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    rl_scale_rewards: Literal["group", "batch", "none"] = "group"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.rl_batch_size % self.rl_num_generations:
            problems.append(
                f"rl_batch_size={self.rl_batch_size} is not a multiple of "
                f"rl_num_generations={self.rl_num_generations}: change rl_batch_size"
            )
        if self.adapter == "full":
            problems += [
                f"{name}={getattr(self, name)} has no meaning with adapter='full': "
                f"leave it out or set adapter='lora'"
                for name in ("lora_rank", "lora_alpha_ratio", "lora_dropout")
                if getattr(self, name) is not None
            ]
        if self.rl_epsilon_high is not None and self.rl_epsilon_high < self.rl_epsilon:
            problems.append(
                f"rl_epsilon_high={self.rl_epsilon_high} is below rl_epsilon={self.rl_epsilon}: "
                "raise rl_epsilon_high"
            )
        if problems:
            raise HyperparameterError(problems)
        return self


def validate(config: Mapping[str, Any]) -> Hyperparameters:
    """Checks a flat configuration and fills in defaults.

    A value of None or NaN means "not set" (an inactive conditional hyperparameter).

    Raises:
        HyperparameterError: with every problem found, each naming the field to change.
    """
    known = Hyperparameters.model_fields
    given = {key: value for key, value in config.items() if not _is_unset(value)}
    problems = [_unknown(key) for key in given if key not in known]
    given = {key: value for key, value in given.items() if key in known}
    try:
        hyperparameters = Hyperparameters(**given)
    except ValidationError as error:
        problems += [_describe(detail) for detail in error.errors()]
        problems += _other_problems(given, {str(detail["loc"][0]) for detail in error.errors()})
    except HyperparameterError as error:
        problems += error.problems
    if problems:
        raise HyperparameterError(problems)
    return hyperparameters


def _other_problems(given: Mapping[str, Any], broken: set[str]) -> list[str]:
    """Contradictions between fields, none of which is among the ``broken`` ones."""
    try:
        Hyperparameters(**{key: value for key, value in given.items() if key not in broken})
    except HyperparameterError as error:
        return [problem for problem in error.problems if not any(key in problem for key in broken)]
    return []


def split_steps(sft_share: float, total_steps: int) -> tuple[int, int]:
    """SFT and RL steps of the full schedule; a stage with share 0 is left out."""
    sft_steps = round(sft_share * total_steps)
    return sft_steps, total_steps - sft_steps


def _is_unset(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, Hyperparameters.model_fields, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{key!r} is no hyperparameter of this trial{hint}"


def _describe(detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "configuration"
    return f"{field}={detail['input']!r}: {detail['msg']}"
