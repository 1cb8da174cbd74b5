"""TRL's trainers as a trial uses them: one builder for each stage, from the trial's context."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset as HFDataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from trials.data.chat_table import chat_table
from trials.data.dataset import Row
from trials.data.subsets import fixed_subset, nested_share
from trials.io.errors import HyperparameterError
from trials.models.loading import load_model
from trials.models.reuse import prepared
from trials.scoring.rewards import RewardTerm, training_rewards
from trials.spec.arguments import dpo_arguments, grpo_arguments, lora_arguments, sft_arguments
from trials.spec.kinds import Stage
from trials.training.context import TrialContext
from trials.training.grpo import ExactGRPOTrainer
from trials.training.rollouts import rollouts_of
from trials.training.scheduled import ScheduledDPOTrainer, ScheduledSFTTrainer


def sft_trainer(context: TrialContext, start: str | Path, output: Path) -> SFTTrainer:
    """Trainer of the SFT stage.

    Args:
        context: of the trial.
        start: model or adapter folder, or hub id, whose weights the stage starts from.
        output: folder of the trainer's checkpoints.

    Raises:
        HyperparameterError: when the batch does not fit the processes, or LoRA's targets the model.
    """
    h, schedule = context.hyperparameters, context.spec.schedule
    shared = _shared(context, "sft", start)
    followed = None
    if h.sft_schedule == "greedy":
        followed = fixed_subset(context.dataset.splits["validation"], schedule.eval_rows)
    arguments = sft_arguments(h, context.plan, schedule, context.execution)
    rows = context.train_rows
    if h.sft_rows_share < 1:
        rows = nested_share(rows, h.sft_rows_share)
    # TRL writes into the rows what only these settings, the tokenizer and the data decide.
    key = (
        context.dataset.path,
        context.dataset.fingerprint,
        context.spec.fidelity.model,
        arguments["completion_only_loss"],
        h.sft_rows_share,
        *((schedule.max_length,) if h.sft_packing else ()),
    )

    def build(table: HFDataset) -> SFTTrainer:
        is_prepared = "labels" in table.column_names
        return ScheduledSFTTrainer(
            args=SFTConfig(
                output_dir=str(output),
                dataset_kwargs={"skip_prepare_dataset": True} if is_prepared else None,
                **arguments,
            ),
            train_dataset=table,
            eval_dataset=_completions(followed) if followed else None,
            **shared,
        )

    if followed:  # then the evaluation rows would not be prepared either
        return build(_completions(rows))
    return prepared(key, build, lambda: _completions(rows))


def dpo_trainer(context: TrialContext, start: str | Path, output: Path) -> DPOTrainer:
    """Trainer of the DPO stage; arguments as for ``sft_trainer``.

    TRL's reference is ``start``: loaded a second time for full weights, a frozen copy of the
    adapter for LoRA, or the base model where the adapter is new.
    """
    shared = _shared(context, "dpo", start)
    schedule, execution = context.spec.schedule, context.execution
    arguments = dpo_arguments(context.hyperparameters, context.plan, schedule, execution)
    pairs = [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in context.dataset.preferences
    ]
    return ScheduledDPOTrainer(
        args=DPOConfig(output_dir=str(output), **arguments),
        train_dataset=chat_table(pairs),
        **shared,
    )


def rl_trainer(context: TrialContext, start: str | Path, output: Path) -> GRPOTrainer:
    """Trainer of the RL stage; arguments as for ``sft_trainer``."""
    h, rows = context.hyperparameters, context.train_rows
    shared = _shared(context, "rl", start)
    arguments = grpo_arguments(h, context.plan, context.spec.schedule, context.execution)
    limit = arguments["max_completion_length"]
    terms = training_rewards(context.evaluator.reward, h, context.dataset.card, limit)
    trainer = ExactGRPOTrainer(
        reward_funcs=[_reward_function(term, rows) for term in terms],
        args=GRPOConfig(
            output_dir=str(output), reward_weights=[term.weight for term in terms], **arguments
        ),
        train_dataset=chat_table(
            [{"prompt": row.prompt, "row_index": index} for index, row in enumerate(rows)]
        ),
        **shared,
    )
    trainer.rollouts = rollouts_of(context, trainer.model)
    return trainer


def lora_config(context: TrialContext, model: Any) -> LoraConfig | None:
    """PEFT's configuration, or None for full weights.

    Raises:
        HyperparameterError: when the model has no layer of those that should get adapters.
    """
    arguments = lora_arguments(context.hyperparameters)
    if arguments is None:
        return None
    pattern = arguments["target_modules"]
    names = (name for name, _ in model.named_modules())
    if pattern != "all-linear" and not any(re.fullmatch(pattern, name) for name in names):
        problem = f"no layer of {type(model).__name__} has a name known for that"
        field = f"lora_targets={context.hyperparameters.lora_targets!r}"
        raise HyperparameterError([f"{field}: {problem}; set lora_targets='all-linear'"])
    return LoraConfig(**arguments)


def _shared(context: TrialContext, stage: Stage, start: str | Path) -> dict[str, Any]:
    """What all trainers are given: the weights, the tokenizer, and a new adapter or none.

    The first stage gets the adapter; the others continue training it.
    """
    model = load_model(start, trainable_adapter=True, dtype=context.weights_dtype)
    adapter = lora_config(context, model) if context.plan.stages[0] == stage else None
    return {"model": model, "processing_class": context.tokenizer, "peft_config": adapter}


def _completions(rows: Sequence[Row]) -> HFDataset:
    return chat_table([{"prompt": row.prompt, "completion": row.completion} for row in rows])


def _reward_function(term: RewardTerm, rows: Sequence[Row]) -> Callable[..., list[float | None]]:
    """A term in the form that TRL calls; it logs a reward under the name of its function."""

    def reward(
        completions: list[Any], completion_ids: list[list[int]], row_index: list[int], **_: Any
    ) -> list[float | None]:  # what TRL expects; none is None
        return [
            term.score(completion[-1]["content"], rows[index], len(tokens))
            for completion, tokens, index in zip(
                completions, completion_ids, row_index, strict=True
            )
        ]

    reward.__name__ = term.name
    return reward
