"""What both stages of a trial share: the data, the models on disk, the evaluator, the event log."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM, AutoTokenizer

from trials.arguments import BF16_MIN_PARAMETERS, weights_dtype
from trials.dataset import Dataset, Row, check_lengths, completion_limit, load_dataset
from trials.errors import DatasetError, ModelError
from trials.evaluate import Evaluator, fixed_subset
from trials.events import EventLog
from trials.hyperparameters import Hyperparameters, split_steps, validate
from trials.records import TrialSpec
from trials.rewards import Reward, build_reward

# For base models that have none: the texts, a line each, and the end token after the answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
)


@dataclass
class TrialContext:
    """Everything a stage needs; one per trial.

    Attributes:
        sft_steps, rl_steps: of the full schedule.
        last_step: the step at which this trial ends (``fraction`` of the full schedule).
    """

    spec: TrialSpec
    hyperparameters: Hyperparameters
    dataset: Dataset
    tokenizer: Any
    reward: Reward
    evaluator: Evaluator
    events: EventLog
    parameters: int
    sft_steps: int
    rl_steps: int
    last_step: int

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
    def total_steps(self) -> int:
        return self.sft_steps + self.rl_steps

    @property
    def eval_steps(self) -> set[int]:
        """Steps (over both stages) at which the validation score is taken."""
        points = [round(point * self.total_steps) for point in self.spec.schedule.eval_points]
        return {step for step in points if 0 < step < self.last_step} | {self.last_step}

    @property
    def bf16(self) -> bool:
        return self.parameters >= BF16_MIN_PARAMETERS

    @property
    def weights_dtype(self) -> str:
        return weights_dtype(self.hyperparameters, self.bf16)


def prepare(spec: TrialSpec, events: EventLog) -> TrialContext:
    """Checks the spec against what is on disk and loads what both stages share.

    Raises:
        DatasetError, HyperparameterError, RewardError, ModelError: before any compute is spent.
    """
    if spec.continue_from and not (Path(spec.folder) / "checkpoint").is_dir():
        raise ModelError(
            f"nothing to continue from in {spec.continue_from}\n  expected: the folder of a trial "
            "with checkpoint/ and events.jsonl; run the trial from its beginning"
        )
    hyperparameters = validate(spec.config)
    dataset = load_dataset(spec.dataset, splits=("train", "validation"))
    if dataset.fingerprint != spec.dataset_fingerprint:
        raise DatasetError(
            f"fingerprint {dataset.fingerprint}",
            path=spec.dataset,
            expected=f"{spec.dataset_fingerprint}: the data changed since the run began; "
            "start a new run",
        )
    tokenizer = load_tokenizer(spec.fidelity.model)
    model = load_model(spec.fidelity.model)
    check_lengths(
        dataset, tokenizer, spec.schedule.max_length, model.config.max_position_embeddings
    )
    limit = spec.schedule.max_completion_tokens or completion_limit(dataset, tokenizer)
    schedule = spec.schedule.model_copy(update={"max_completion_tokens": limit})
    spec = spec.model_copy(update={"schedule": schedule})
    parameters = model.num_parameters()
    reward = build_reward(dataset, spec.allow_user_code)
    state = PartialState()
    sft_steps, rl_steps = split_steps(hyperparameters.sft_share, spec.schedule.total_steps)
    return TrialContext(
        spec=spec,
        hyperparameters=hyperparameters,
        dataset=dataset,
        tokenizer=tokenizer,
        reward=reward,
        evaluator=Evaluator(
            tokenizer,
            fixed_subset(dataset.splits["validation"], spec.schedule.eval_rows),
            reward,
            limit,
            spec.schedule.eval_batch_size,
            processes=state.num_processes,
            process_index=state.process_index,
            autocast=torch.bfloat16 if parameters >= BF16_MIN_PARAMETERS else None,
        ),
        events=events,
        parameters=parameters,
        sft_steps=sft_steps,
        rl_steps=rl_steps,
        last_step=max(1, round(spec.fidelity.fraction * spec.schedule.total_steps)),
    )


def load_tokenizer(model: str) -> Any:
    """Tokenizer of a model folder or hub id; padding falls back to the end token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer for {model!r}: {error}\n  expected: a model folder or a hub id"
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def load_model(model: str | Path, trainable_adapter: bool = False, dtype: str = "float32") -> Any:
    """Model with weights of a type; a folder with an adapter is loaded on top of its base model.

    Without ``is_trainable`` PEFT loads adapters frozen, and training them changes nothing.
    """
    try:
        if (Path(model) / "adapter_config.json").exists():
            from peft import PeftConfig, PeftModel

            base = PeftConfig.from_pretrained(str(model)).base_model_name_or_path
            return PeftModel.from_pretrained(
                load_model(str(base), dtype=dtype), str(model), is_trainable=trainable_adapter
            )
        return AutoModelForCausalLM.from_pretrained(str(model), dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {str(model)!r} cannot be loaded: {error}\n"
            "  expected: a folder with config.json and safetensors weights, or a hub id"
        ) from None


def peak_memory_bytes() -> int:
    """Peak memory of this process: allocated on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
