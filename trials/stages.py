"""The two stages of a trial: SFT with TRL's SFTTrainer, then RL with its GRPOTrainer.

Steps count over both stages. A stage that ends before its full length leaves
``checkpoint/<stage>/checkpoint-<n>`` (weights, optimizer, schedule, random state), from which it
continues exactly: the length of the learning-rate schedule is always that of the full run.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as HFDataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from trials.context import TrialContext, load_model
from trials.events import CURVE_METRICS
from trials.records import Stage, Stop
from trials.stopping import DynamicsMonitor

TRL_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class TrialCallback(TrainerCallback):
    """Turns what the trainer logs into events, evaluates, and ends the stage when it is time.

    Args:
        context: of the trial.
        stage: ``sft`` or ``rl``.
        offset: steps of the stages before this one.
    """

    def __init__(self, context: TrialContext, stage: Stage, offset: int):
        self._context, self._stage, self._offset = context, stage, offset
        self._monitor = DynamicsMonitor(stage, context.spec.stopping)
        self.stop: Stop | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        values = {
            short: float(logs[name]) for name, short in CURVE_METRICS.items() if name in logs
        }
        if not values:  # the summary at the end of training
            return control
        step = self._offset + state.global_step
        self._context.events.write(
            "metric",
            stage=self._stage,
            step=step,
            values=values,
            learning_rate=logs.get("learning_rate"),
            tokens=int(logs.get("num_tokens", 0)),
        )
        self.stop = self.stop or self._monitor.observe(step, values) or self._wall_clock(step)
        if self.stop:
            control.should_training_stop = True
        return control

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> Any:
        step = self._offset + state.global_step
        if step in self._context.eval_steps:
            score(self._context, model, self._stage, step)
        if step >= self._context.last_step and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if inactive := self._monitor.inactive():
            self._context.events.write("inactive_rules", stage=self._stage, rules=inactive)
        return control

    def _wall_clock(self, step: int) -> Stop | None:
        limit, seconds = self._context.spec.limits.wall_seconds, self._context.events.seconds
        if limit is None or seconds < limit:
            return None
        return Stop(rule="wall_clock", step=step, values={"seconds": seconds, "limit": limit})


def score(context: TrialContext, model: Any, stage: Stage, step: int) -> None:
    """Takes the validation score and writes it to the events."""
    measured = context.evaluator(model)
    context.events.write(
        "score",
        stage=stage,
        step=step,
        values={"score": measured.score},
        score_se=measured.score_se,
        rows=measured.rows,
        tokens=context.evaluator.tokens,
    )


def run_sft(context: TrialContext) -> Stop | None:
    """Runs SFT up to its end or to the last step of the trial; leaves ``checkpoint/sft_final``."""
    h = context.hyperparameters
    final = context.checkpoints / "sft_final"
    if not context.sft_steps or final.exists():
        return None
    trainer = SFTTrainer(
        model=load_model(context.spec.fidelity.model),
        args=SFTConfig(
            **_common_arguments(context, "sft", context.sft_steps),
            **_batch_arguments(h.sft_batch_size, context.spec.schedule.micro_batch_size),
            learning_rate=h.sft_learning_rate,
            lr_scheduler_type=TRL_SCHEDULES[h.sft_schedule],
            warmup_steps=round(h.sft_warmup * context.sft_steps),
            max_length=None,  # rows were checked to fit; truncation would train on half answers
            neftune_noise_alpha=h.neftune_alpha or None,
            completion_only_loss=True,
        ),
        train_dataset=HFDataset.from_list(
            [{"prompt": row.prompt, "completion": row.completion} for row in context.train_rows]
        ),
        processing_class=context.tokenizer,
        peft_config=lora_config(context),
    )
    return _train(context, trainer, "sft", offset=0, steps=context.sft_steps, final=final)


def run_rl(context: TrialContext) -> Stop | None:
    """Runs GRPO from the SFT weights up to its end or to the last step of the trial."""
    h = context.hyperparameters
    final = context.checkpoints / "final"
    start: str | Path = context.checkpoints / "sft_final"
    if not context.sft_steps:
        start = context.spec.fidelity.model
    fresh_adapter = None if context.sft_steps else lora_config(context)
    rows = context.train_rows
    rewards = context.reward

    def reward(completions: list[Any], row_index: list[int], **_: Any) -> list[float]:
        return [
            rewards(completion[-1]["content"], rows[index])
            for completion, index in zip(completions, row_index, strict=True)
        ]

    trainer = GRPOTrainer(
        model=load_model(start, trainable_adapter=True),
        reward_funcs=reward,
        args=GRPOConfig(
            **_common_arguments(context, "rl", context.rl_steps),
            # One generation a step: every step is a boundary at which a checkpoint is exact.
            **_batch_arguments(h.rl_batch_size, None),
            steps_per_generation=1,
            num_iterations=1,
            learning_rate=h.rl_learning_rate,
            lr_scheduler_type=TRL_SCHEDULES[h.rl_schedule],
            warmup_steps=round(h.rl_warmup * context.rl_steps),
            num_generations=h.rl_num_generations,
            max_completion_length=context.spec.schedule.max_completion_tokens,
            beta=h.rl_beta,
            epsilon=h.rl_epsilon,
            epsilon_high=h.rl_epsilon_high,
            temperature=h.rl_temperature,
            loss_type=h.rl_loss_type,
            scale_rewards=h.rl_scale_rewards,
        ),
        train_dataset=HFDataset.from_list(
            [{"prompt": row.prompt, "row_index": index} for index, row in enumerate(rows)]
        ),
        processing_class=context.tokenizer,
        peft_config=fresh_adapter,
    )
    return _train(
        context, trainer, "rl", offset=context.sft_steps, steps=context.rl_steps, final=final
    )


def lora_config(context: TrialContext) -> LoraConfig | None:
    """PEFT's configuration on all linear layers, or None for full weights."""
    h = context.hyperparameters
    if h.adapter == "full":
        return None
    rank = h.lora_rank or 16
    return LoraConfig(
        r=rank,
        lora_alpha=round(rank * (h.lora_alpha_ratio or 2.0)),
        lora_dropout=h.lora_dropout or 0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _train(
    context: TrialContext, trainer: Any, stage: Stage, offset: int, steps: int, final: Path
) -> Stop | None:
    callback = TrialCallback(context, stage, offset)
    trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    folder = context.checkpoints / stage
    resume = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    context.events.write("phase", phase=stage, steps=steps, resumed_from=resume)
    trainer.train(resume_from_checkpoint=resume)
    ran = trainer.state.global_step
    if callback.stop:
        # The rule fired after the step's own evaluation could have been due.
        if offset + ran not in context.eval_steps:
            score(context, trainer.model, stage, offset + ran)
    elif ran >= steps:
        trainer.save_model(str(final))
        if trainer.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return callback.stop


def _common_arguments(context: TrialContext, stage: Stage, steps: int) -> dict[str, Any]:
    """Arguments of both trainers. TRL's defaults of bf16, checkpointing and logging do not fit."""
    h = context.hyperparameters
    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(context.checkpoints / stage),
        "max_steps": steps,
        "seed": context.spec.seed,
        "weight_decay": h.weight_decay,
        "max_grad_norm": h.max_grad_norm,
        "use_cpu": on_cpu,
        "bf16": context.bf16,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a filtered NaN would hide a diverged trial
        "save_strategy": "no",  # the callback says when
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False if stage == "rl" else True,
        "optim": "adamw_torch",
        "ddp_find_unused_parameters": False,
    }


def _batch_arguments(batch_size: int, micro_batch_size: int | None) -> dict[str, int]:
    """Per-device batch and gradient accumulation that make up ``batch_size`` over all devices."""
    from accelerate import PartialState

    processes = PartialState().num_processes
    per_device = max(1, batch_size // processes)
    accumulation = 1
    while micro_batch_size and per_device > micro_batch_size and per_device % 2 == 0:
        per_device, accumulation = per_device // 2, accumulation * 2
    return {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
    }
