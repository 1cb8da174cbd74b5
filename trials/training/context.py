"""The context that a trial's stages share: data, models on disk, evaluator, event log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState

from trials.checkpoints.entries import Checkpoint, stage_keys
from trials.checkpoints.resume_point import stage_start_weights
from trials.data.dataset import Dataset, Row
from trials.data.subsets import fixed_subset
from trials.evaluation.evaluate import Evaluator
from trials.io.errors import ModelError
from trials.models.fingerprints import check_model_unchanged
from trials.models.loading import count_parameters
from trials.models.memory import available_memory_bytes, check_fits, estimate_memory
from trials.models.reuse import token_lengths, unchanged_dataset
from trials.models.tokenizer import context_limit, load_config, load_tokenizer
from trials.scoring.reward_watch import WatchedReward
from trials.scoring.rewards import build_reward, training_rewards
from trials.spec.arguments import Execution, use_bf16, weights_dtype
from trials.spec.events import EventLog
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan, plan_steps, scored_steps
from trials.spec.records import LEAST_LENGTH, Pace, TrialSpec


@dataclass
class TrialContext:
    """Everything a stage needs; one per trial.

    Attributes:
        plan: steps of the full run.
        last_step: the step at which this trial ends (``fraction`` of the full run).
        keys: of the stages; what is saved can be continued by trials with the same key.
        start: the checkpoint that the trial resumes from, or None.
        weights: model or adapter that the stage at hand starts from: folder or hub id.
        longest: of each part of this trial so far.
        aside: seconds that were spent on scoring and saving between steps.
        completions: tokens of the limit that the data ask for, and of one that most of them fit.
    """

    spec: TrialSpec
    hyperparameters: Hyperparameters
    dataset: Dataset
    tokenizer: Any
    evaluator: Evaluator
    events: EventLog
    parameters: int
    plan: StagePlan
    last_step: int
    keys: dict[Stage, str]
    start: Checkpoint | None
    weights: str | Path
    completions: tuple[int, int]
    longest: Pace = field(default_factory=Pace)
    aside: float = 0.0

    def measured(self, part: Literal["scoring", "saving"], seconds: float) -> None:
        """Notes how long a part of the trial took; the longest time of each is kept."""
        self.aside += seconds
        longest = max(seconds, getattr(self.longest, part))
        self.longest = self.longest.model_copy(update={part: longest})

    def saved(self, since: float) -> None:
        """Notes that something was saved, and how long that took since a monotonic time."""
        took = time.monotonic() - since
        self.measured("saving", took)
        self.events.write("phase", phase="saved", took=round(took, 3))

    @property
    def folder(self) -> Path:
        return Path(self.spec.folder)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def train_rows(self) -> list[Row]:
        return self.dataset.splits["train"]

    @property
    def task_reward_metric(self) -> dict[str, str]:
        """Under which name TRL logs the task's own reward, when RL adds other terms to it.

        The rules judge by it: completions that are all right, but long, are no dead signal.
        """
        h = self.hyperparameters
        terms = training_rewards(self.evaluator.reward, h, self.dataset.card, 1)
        return {f"rewards/{terms[0].name}/mean": "task_reward"} if len(terms) > 1 else {}

    @property
    def start_step(self) -> int:
        return self.start.manifest.step if self.start else 0

    @property
    def eval_steps(self) -> set[int]:
        """Steps (over all stages) at which the validation score is taken."""
        return scored_steps(self.plan, self.spec.schedule, self.spec.fidelity.fraction)

    def trainer_checkpoint(self, stage: Stage) -> str | None:
        """The trainer's checkpoint with which a stage goes on; None where it begins."""
        inside = self.start and self.start.manifest.kind == "trainer"
        if self.start and inside and self.start.manifest.stage == stage:
            return str(self.start.payload)
        return None

    @property
    def bf16(self) -> bool:
        return use_bf16(self.spec.compute.precision, self.parameters)

    @property
    def execution(self) -> Execution:
        """Execution settings of the stages on this process's device."""
        return Execution(
            seed=self.spec.seed,
            processes=PartialState().num_processes,
            on_cpu=not torch.cuda.is_available(),
            bf16=self.bf16,
            compute=self.spec.compute,
        )

    @property
    def weights_dtype(self) -> str:
        return weights_dtype(self.hyperparameters.adapter == "lora", self.bf16)


def prepare(spec: TrialSpec, events: EventLog, start: Checkpoint | None = None) -> TrialContext:
    """Checks the spec against what is on disk and loads what the stages share.

    Raises:
        DatasetError, HyperparameterError, RewardError, ModelError, TooLargeForMemory: before any
            compute is spent.
    """
    hyperparameters = validate(spec.config)
    dataset = unchanged_dataset(spec.dataset, spec.dataset_fingerprint)
    plan = plan_steps(
        hyperparameters, spec.schedule, len(dataset.splits["train"]), len(dataset.preferences)
    )
    keys = stage_keys(spec, hyperparameters, plan)
    if start:
        _check_checkpoint(start, keys)
    if spec.model_fingerprint is not None:
        check_model_unchanged(spec.fidelity.model, spec.model_fingerprint)
    tokenizer = load_tokenizer(spec.fidelity.model)
    config = load_config(spec.fidelity.model)
    longest, completion, most = token_lengths(
        spec.dataset,
        spec.dataset_fingerprint,
        spec.fidelity.model,
        spec.schedule.max_length,
        context_limit(config),
    )
    limit = spec.schedule.max_completion_tokens or completion
    lengths = {
        "max_completion_tokens": limit,
        "max_length": spec.schedule.max_length or max(LEAST_LENGTH, longest),
    }
    schedule = spec.schedule.model_copy(update=lengths)
    spec = spec.model_copy(update={"schedule": schedule})
    reward = build_reward(dataset, spec.allow_user_code)
    watched = WatchedReward(reward, Path(spec.folder), PartialState().process_index)
    context = TrialContext(
        spec=spec,
        hyperparameters=hyperparameters,
        dataset=dataset,
        tokenizer=tokenizer,
        evaluator=Evaluator(
            tokenizer,
            fixed_subset(dataset.splits["validation"], schedule.eval_rows),
            watched,
            limit,
            schedule.eval_batch_size,
            pass_k=schedule.pass_k,
            pass_samples=schedule.pass_samples,
            pass_temperature=schedule.pass_temperature,
        ),
        events=events,
        parameters=count_parameters(config),
        plan=plan,
        last_step=plan.last_step(spec.fidelity.fraction),
        keys=keys,
        start=start,
        weights=_starting_weights(spec, start),
        completions=(completion, most),
    )
    context.evaluator.autocast = torch.bfloat16 if context.bf16 else None
    _check_memory(context, config, longest)
    return context


def _check_checkpoint(start: Checkpoint, keys: Mapping[Stage, str]) -> None:
    """Refuses a checkpoint that this trial cannot have come from."""
    if keys.get(start.manifest.stage) != start.manifest.key:
        raise ModelError(
            f"the checkpoint {start.path} is of another configuration, dataset, model or seed\n"
            "  expected: one of this trial or of one with the same stages up to there; "
            "leave continue_from out, or remove the folder's checkpoint/"
        )


def _check_memory(context: TrialContext, config: Any, longest: int) -> None:
    """Refuses what cannot fit before any weights are loaded."""
    compute, schedule = context.spec.compute, context.spec.schedule
    h, plan, execution = context.hyperparameters, context.plan, context.execution
    limit = compute.memory_bytes or available_memory_bytes()
    if compute.vllm:
        limit = round(limit * (1 - compute.vllm_memory))
    estimate = estimate_memory(
        config,
        context.parameters,
        h,
        plan,
        schedule,
        execution,
        longest_row=longest,
        sharded=os.environ.get("ACCELERATE_USE_FSDP") == "true"
        or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true",
    )
    check_fits(estimate, limit)


def _starting_weights(spec: TrialSpec, start: Checkpoint | None) -> str | Path:
    """The weights at the start of the first stage to run, also of one that is resumed."""
    if start is None:
        return spec.fidelity.model
    if start.manifest.kind == "weights":
        return start.payload
    # In the middle of a later stage, the checkpoint holds what that stage started from.
    for before in (stage_start_weights(Path(spec.folder)), start.path / "start"):
        if before.is_dir():
            return before
    return spec.fidelity.model
