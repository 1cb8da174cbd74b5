"""Settings of the flows: one home each, checked all at once before any compute is spent."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from trials.records import Compute, Limits, Record, Schedule, StoppingRules


class Budget(Record):
    """What a run may spend: wall-clock time, trials, or full-trial equivalents.

    A full-trial equivalent is the compute (FLOPs) of the default configuration at full length, so
    a trial stopped at a third of it costs about a third.
    """

    amount: float = Field(gt=0)
    unit: Literal["seconds", "trials", "full"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads ``25m``, ``1h30m``, ``90s``, ``12`` or ``12 trials``, ``8 full``.

        Raises:
            ValueError: for anything else.
        """
        text = text.strip().lower()
        if match := re.fullmatch(r"(\d+)(?: ?trials?)?", text):
            return cls(amount=float(match[1]), unit="trials")
        if match := re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:full|x)", text):
            return cls(amount=float(match[1]), unit="full")
        parts = re.fullmatch(
            r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text
        )
        if parts and any(parts.groups()):
            hours, minutes, seconds = (float(part or 0) for part in parts.groups())
            return cls(amount=3600 * hours + 60 * minutes + seconds, unit="seconds")
        raise ValueError(
            f"budget {text!r} is not understood; expected a time (25m, 1h30m), a number of trials "
            "(12) or full-trial equivalents (8 full)"
        )

    def __str__(self) -> str:
        if self.unit == "trials":
            return f"{self.amount:g} trials"
        if self.unit == "full":
            return f"{self.amount:g} full-trial equivalents"
        minutes, seconds = divmod(round(self.amount), 60)
        hours, minutes = divmod(minutes, 60)
        parts = [f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
        return "".join(parts)


class TuneSettings(Record):
    """All settings of one tune run.

    Attributes:
        dataset: name in the catalog, folder, or .jsonl file.
        model: name in the catalog, folder, .gguf file, or hub id.
        space: name of a file in data/spaces (without suffix) or path of a ConfigSpace YAML/JSON.
    """

    dataset: str
    model: str
    space: str = "sft_grpo"
    budget: Budget = Budget(amount=12, unit="trials")
    parallel: int = Field(2, ge=1, description="Trials that run at the same time.")
    seed: int = 0
    strategy: str = "autopipe"
    schedule: Schedule = Schedule()
    stopping: StoppingRules = StoppingRules()
    limits: Limits = Limits()
    compute: Compute = Compute()
    test_rows: int = Field(400, ge=10, description="Test rows of the final measurement.")
    retries: int = Field(1, ge=0, description="Further attempts at a trial that crashed.")
    finalist_share: float = Field(0.25, ge=0, lt=1, description="Of the budget, at full length.")
    early_stopping: bool = True
    threads: int | None = Field(None, ge=1, description="CPU threads a trial; default: its share.")
    gpus_per_trial: int | None = Field(None, ge=1, description="Default: shared out evenly.")
    accelerate_config: str | None = Field(None, description="Passed through to accelerate launch.")
    trials_per_worker: int = Field(50, ge=1, description="1 starts every trial cold.")
    disk_gigabytes: float = Field(50.0, gt=0, description="Limit of the run's checkpoints.")
    allow_user_code: bool = Field(False, description="Run 'module:function' rewards.")
    use_history: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_pass_at_k(self.schedule)
        if self.budget.unit == "trials" and self.budget.amount < 2:
            raise ValueError("budget: at least 2 trials, the default configuration being the first")
        return self


class CollectSettings(Record):
    """All settings of one collect run: a space-filling design over datasets and models."""

    datasets: list[str] = Field(min_length=1)
    model: str
    space: str = "sft_grpo"
    configurations: int = Field(30, ge=1, description="Configurations for each dataset.")
    parallel: int = Field(2, ge=1)
    seed: int = Field(0, description="Of the training, and of the design.")
    design_seed: int | None = Field(None, description="Of the design; default: the seed.")
    schedule: Schedule = Schedule()
    stopping: StoppingRules = StoppingRules(enabled=False)
    limits: Limits = Limits()
    compute: Compute = Compute()
    threads: int | None = Field(None, ge=1, description="CPU threads a trial; default: its share.")
    retries: int = Field(1, ge=0, description="Further attempts at a trial that crashed.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_pass_at_k(self.schedule)
        return self


def _check_pass_at_k(schedule: Schedule) -> None:
    """The estimate of pass@k needs k samples of a row at least."""
    if schedule.pass_k is not None and schedule.pass_k > schedule.pass_samples:
        raise ValueError(
            f"schedule.pass_k: {schedule.pass_k} is more than the schedule.pass_samples of "
            f"{schedule.pass_samples}"
        )
