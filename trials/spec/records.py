"""The three records that pass between the packages: TrialSpec, TrialResult, and the history row.

All are plain JSON on disk, written whole and then renamed, so that a file that exists is complete.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trials.io.hashing import content_hash
from trials.io.record_files import read_record as read_record
from trials.io.record_files import write_json as write_json
from trials.io.redact import redacted
from trials.spec.kinds import ALARMS, FailureKind, Stage, StopRule, TrialState

Value = bool | int | float | str

LARGEST_INTEGER = 2**53
LEAST_LENGTH = 8  # tokens of a row's limit
MOST_TOKENS, MOST_SECONDS = 10_000_000, 366 * 86_400.0  # of a setting: more is a slip of the keys

Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
AlarmMode = Literal["off", "shadow", "stop"]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]

# How much of its log a failed trial keeps.
LOG_TAIL_LINES = 30


class Record(BaseModel):
    """A frozen record; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Settings(Record):
    """A record that people set: every number is finite and exact in JSON."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_exact_in_json(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
                raise ValueError(f"{name}: a number beyond ±{LARGEST_INTEGER}")
        return self


class Fidelity(Settings):
    """The model and the share of the full schedule that a trial runs."""

    model: str = Field(description="Model folder or hub id; a smaller proxy is a lower fidelity.")
    fraction: float = Field(gt=0, le=1, description="Share of the full schedule, in (0, 1].")


class Schedule(Settings):
    """The full-length schedule of a trial. A fraction runs its first steps, never a shorter one."""

    total_steps: int = Field(
        100, ge=2, le=10_000_000, description="Optimizer steps of SFT and RL together."
    )
    max_length: int | None = Field(
        None,
        ge=LEAST_LENGTH,
        le=MOST_TOKENS,
        description="Longest prompt + completion of SFT in tokens; default: the longest row.",
    )
    max_completion_tokens: Tokens | None = Field(
        None, description="Tokens generated in RL and evaluation; default: from the data."
    )
    eval_rows: int = Field(
        128, ge=4, le=10_000_000, description="Validation rows, the same for every trial."
    )
    eval_batch_size: BatchSize = Field(128, description="Rows generated at once.")
    eval_points: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.1, 0.2, 0.3, 0.5, 1.0),
        max_length=1000,
        description="Fractions at which the validation score is taken.",
    )
    micro_batch_size: BatchSize | None = Field(
        None, description="Largest batch on a device; larger ones accumulate gradients."
    )
    pass_k: int | None = Field(
        None, ge=1, le=10_000, description="Also measure pass@k of each trial, for this k."
    )
    pass_samples: int = Field(8, ge=1, le=10_000, description="Samples per row for pass@k.")
    pass_temperature: float = Field(
        1.0, gt=0, le=100, description="Sampling temperature for pass@k."
    )


class Compute(Settings):
    """Use of the device; none of it is meant to change what is learned."""

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Floating-point type; auto: bfloat16 where that is faster."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for a fifth more time.")
    vllm: bool = Field(False, description="Generate completions in RL with vLLM, if installed.")
    vllm_memory: float = Field(0.3, gt=0, lt=1, description="Share of the GPU that vLLM takes.")
    memory_bytes: int | None = Field(
        None,
        gt=0,
        le=2**60,
        description="Bytes of each device that a trial may use; default: what is free.",
    )


class StoppingRules(Settings):
    """Thresholds of the rules on training dynamics; NaN stops a trial even when not ``enabled``."""

    enabled: bool = Field(True, description="Off, only NaN stops a trial.")
    loss_explosion: float = Field(
        3.0, gt=1, le=1e9, description="SFT loss over its running minimum that is an explosion."
    )
    loss_patience: int = Field(8, ge=1, description="Steps in a row with such a loss.")
    kl_growth: float = Field(0.15, gt=0, description="Growth of the KL per step that is too fast.")
    kl_patience: int = Field(5, ge=1, description="Steps in a row with such growth.")
    kl_floor: float = Field(1.0, ge=0, description="KL, in nats, below which growth is ignored.")
    reward_drop: float = Field(0.10, gt=0, description="Drop of the windowed reward from its best.")
    reward_window: int = Field(10, ge=2, description="Steps in a reward window.")
    reward_patience: int = Field(10, ge=1, description="Steps in a row that the drop must last.")
    zero_reward_steps: int = Field(25, ge=1, description="RL steps without any reward.")
    no_spread_steps: int = Field(25, ge=1, description="RL steps where no group has any spread.")
    entropy_collapse: AlarmMode = Field(
        "shadow", description="RL: entropy gone, groups flat, task unsolved."
    )
    entropy_growth: AlarmMode = Field(
        "shadow", description="RL: entropy doubled and up by a nat, reward not."
    )
    truncation: AlarmMode = Field(
        "shadow", description="RL: half of the completions cut off, and many more than at first."
    )
    shaping_gap: AlarmMode = Field(
        "shadow", description="RL: total reward up while the task's own falls."
    )
    heldout_drop: AlarmMode = Field(
        "shadow", description="RL: validation score below that before RL."
    )
    heldout_gap: AlarmMode = Field(
        "shadow", description="RL: training reward up, validation score not."
    )

    @property
    def deciding(self) -> dict[str, Any]:
        """What can change a trial: a rule in its shadow cannot."""
        silent = {rule.value for rule in ALARMS if getattr(self, rule.value) != "stop"}
        return self.model_dump(mode="json", exclude=silent)


class Pace(Settings):
    """Durations of the parts of a trial, in seconds; 0 where unknown."""

    loading: float = Field(0.0, ge=0, description="From its beginning to its first stage.")
    starting: float = Field(0.0, ge=0, description="Of a stage: model and trainer.")
    sft_step: float = Field(0.0, ge=0, description="An optimizer step of SFT.")
    dpo_step: float = Field(0.0, ge=0, description="An optimizer step of DPO.")
    rl_step: float = Field(0.0, ge=0, description="An optimizer step of RL, with generation.")
    scoring: float = Field(0.0, ge=0, description="All validation rows, once.")
    saving: float = Field(0.0, ge=0, description="The weights, once.")

    def step(self, stage: Stage) -> float:
        """Seconds of an optimizer step of a stage."""
        return {"sft": self.sft_step, "dpo": self.dpo_step, "rl": self.rl_step}[stage]


class Limits(Settings):
    """Time limits, in seconds, at which a trial ends itself or its supervisor ends it."""

    wall_seconds: Seconds | None = Field(None, description="Seconds that a trial may take in all.")
    pace: Pace = Field(Pace(), description="What the trial expects before it has measured it.")
    reward_seconds: Seconds = Field(60.0, description="Seconds for the reward of one completion.")
    silent_seconds: Seconds = Field(
        600.0, description="Seconds without events before a trial is killed."
    )
    checkpoint_seconds: Seconds | None = Field(
        600.0, description="Seconds between checkpoints, from which a killed trial resumes."
    )


class TrialSpec(Record):
    """Everything that the trial program reads.

    Attributes:
        trial_id: unique in its run.
        dataset: folder or file of the dataset (design of the dataset: docs/architecture.md).
        dataset_fingerprint: content hash of the dataset, checked when the trial starts.
        config: flat mapping of hyperparameter to value; validated by ``hyperparameters.validate``.
        fidelity: model and fraction of the full schedule.
        seed: seeds data order, dropout, sampling of completions.
        folder: where events, result and checkpoints go.
        continue_from: folder of a checkpoint (``checkpoints.py``) to resume from, or None.
        model_fingerprint: content hash of the model folder; without one its name identifies it.
    """

    trial_id: str
    dataset: str
    dataset_fingerprint: str
    config: dict[str, Value | None]
    fidelity: Fidelity
    seed: int = 0
    folder: str
    continue_from: str | None = None
    model_fingerprint: str | None = None
    schedule: Schedule = Schedule()
    stopping: StoppingRules = StoppingRules()
    limits: Limits = Limits()
    compute: Compute = Compute()
    keep_checkpoint: bool = True
    allow_user_code: bool = False

    @property
    def inherits_from(self) -> str | None:
        """Id of the other trial whose checkpoint this one resumes from.

        None when it starts from the model, or goes on with an interrupted attempt of its own.
        """
        if self.continue_from is None:
            return None
        trial = Path(self.continue_from).parent.parent  # <trial>/checkpoint/step-000120
        return None if trial == Path(self.folder) else trial.name

    @property
    def inherited_step(self) -> int:
        """The step up to which another trial ran for this one; 0 where it starts from the model."""
        if self.continue_from is None or self.inherits_from is None:
            return 0
        _, _, step = Path(self.continue_from).name.rpartition("-")  # step-000120
        return int(step) if step.isdigit() else 0

    def identity(self) -> str:
        """Hash of what decides the outcome: config, data, model, fraction, schedule and seed.

        A value that is None or NaN is not set; on disk both are null.
        """
        config = {k: v for k, v in sorted(self.config.items()) if v is not None and v == v}
        content = {
            "config": config,
            "dataset": self.dataset_fingerprint,
            # Content or name and not the place, so that a run may move to another machine.
            "model": self.model_fingerprint or Path(self.fidelity.model).name,
            "fraction": self.fidelity.fraction,
            "schedule": self.schedule.model_dump(),
            "stopping": self.stopping.deciding,
            "compute": self.compute.model_dump(include={"precision", "vllm"}),
            "seed": self.seed,
        }
        return content_hash(json.dumps(content, sort_keys=True), digits=12)


class CurvePoint(Record):
    """One measured value: ``step`` counts optimizer steps over both stages, from 1."""

    stage: Stage
    step: int
    metric: str
    value: float


class Spent(Record):
    """Resources used up to the score at ``step``, the scoring included."""

    step: int
    seconds: float
    flops: float


class Cost(Record):
    """Resources that a trial used itself, without the part inherited from ``continue_from``."""

    seconds: float = Field(0.0, ge=0, description="Wall-clock of the trial, imports left out.")
    flops: float = Field(0.0, ge=0, description="2 N per generated, 6 N per trained token.")
    tokens: int = Field(0, ge=0, description="Trained and generated tokens.")
    peak_memory_bytes: int = Field(0, ge=0, description="Peak resident (CPU) or allocated (GPU).")
    timeline: list[Spent] = Field([], description="At each score of this trial's own.")


class Failure(Record):
    """The failure of a trial, with the last lines of its log, without secrets."""

    kind: FailureKind
    message: str
    log_tail: str = ""

    @field_validator("message", "log_tail")
    @classmethod
    def _without_secrets(cls, text: str) -> str:
        return redacted(text)


class Stop(Record):
    """The rule that ended a trial early, with the step and the values it fired on."""

    rule: StopRule
    step: int
    values: dict[str, float]


class Provenance(Record):
    """Everything needed to run the same trial again."""

    seed: int
    versions: dict[str, str]
    git_commit: str | None
    dataset_fingerprint: str


class TrialResult(Record):
    """The outcome of a trial.

    ``completed`` reached the fraction it was asked for, ``stopped`` was ended by a rule, and
    ``failed`` has no usable score. ``score`` is the validation metric of the last evaluation.
    """

    trial_id: str
    state: TrialState
    fraction: float = Field(description="Fraction of the full schedule that was reached.")
    score: float | None = None
    score_se: float | None = None
    outcomes: list[float] = Field([], description="Score of every validation row, in their order.")
    pass_at_k: float | None = Field(None, description="pass@k, when the schedule asks for it.")
    curve: list[CurvePoint] = []
    signals: dict[str, float] = {}
    cost: Cost = Cost()
    checkpoint: str | None = None
    failure: Failure | None = None
    stop: Stop | None = None
    inactive_rules: list[str] = Field([], description="Rules whose metric was never logged.")
    provenance: Provenance | None = None

    @property
    def out_of_time(self) -> bool:
        """True if only the time limit stopped it, so that it could be resumed."""
        return self.stop is not None and self.stop.rule == StopRule.WALL_CLOCK


class SplitScore(Record):
    """Score of one model on one split, with the rows it was measured on."""

    score: float
    score_se: float
    rows: int
    outcomes: list[float]
    pass_at_k: float | None = None


class ProbeRequest(Record):
    """Models to score: ``models`` maps a label to a model folder, adapter folder or hub id.

    Attributes:
        rows: of the split that are scored.
        lora: trials train adapters, so that models without one are held as theirs are under it.
        features: whether the first model is described on the training split.
        feature_rows, sampled_rows: training rows that are looked at and that samples are drawn for;
            None: as many as the history was described with.
    """

    dataset: str
    models: dict[str, str]
    tokenizer: str
    split: Literal["validation", "test"]
    rows: int
    beyond: tuple[int, ...] = Field(
        (), description="Rows are left out that are among the fixed ones of these numbers."
    )
    schedule: Schedule
    compute: Compute = Compute()
    lora: bool = False
    features: bool = False
    feature_rows: int | None = None
    sampled_rows: int | None = None
    allow_user_code: bool = False


class ProbeAnswer(Record):
    """Scores by label; ``features`` describes the first model on the training split."""

    scores: dict[str, SplitScore]
    features: dict[str, float] = {}
    parameters: int
    max_completion_tokens: int
    longest_row: int = Field(description="Tokens of the longest row, prompt and completion.")
    seconds: float = Field(description="Time of generating and scoring, all models together.")
