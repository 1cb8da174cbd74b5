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
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset as HFDataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from trials.arguments import Execution, grpo_arguments, lora_arguments, sft_arguments
from trials.context import TrialContext, load_model
from trials.events import CURVE_METRICS, read_events
from trials.records import Stage, Stop
from trials.stopping import DynamicsMonitor


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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Shows the rules what was logged before a continued stage, as if it had run straight."""
        file, last = self._context.folder / "events.jsonl", self._offset + state.global_step
        before = {
            event["step"]: event["values"]
            for event in read_events(file)
            if event["kind"] == "metric" and event["stage"] == self._stage and event["step"] <= last
        }
        for step, values in sorted(before.items()):
            self._monitor.observe(step, values)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        values = {short: float(logs[name]) for name, short in CURVE_METRICS.items() if name in logs}
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
        # Clocks differ between processes, but all must stop at the same step.
        if limit is None or not any(gather_object([seconds >= limit])):
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
        model=load_model(context.spec.fidelity.model, dtype=context.weights_dtype),
        args=SFTConfig(
            output_dir=str(context.checkpoints / "sft"),
            **sft_arguments(h, context.spec.schedule, _execution(context)),
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

    def reward(
        completions: list[Any], row_index: list[int], **_: Any
    ) -> list[float | None]:  # what TRL expects; none is None
        return [
            rewards(completion[-1]["content"], rows[index])
            for completion, index in zip(completions, row_index, strict=True)
        ]

    trainer = GRPOTrainer(
        model=load_model(start, trainable_adapter=True, dtype=context.weights_dtype),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(context.checkpoints / "rl"),
            **grpo_arguments(h, context.spec.schedule, _execution(context)),
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
    """PEFT's configuration, or None for full weights."""
    arguments = lora_arguments(context.hyperparameters)
    return LoraConfig(**arguments) if arguments else None


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
    # The rule fired after the step's own evaluation could have been due.
    if callback.stop and offset + ran not in context.eval_steps:
        score(context, trainer.model, stage, offset + ran)
    if callback.stop or ran >= steps:
        # A trial that a rule ended is over: its weights are final at the stage where it stopped.
        final = context.checkpoints / "final" if callback.stop else final
        # Renamed when whole: weights that a killed trial half wrote must not be continued from.
        partial = final.with_name(f".{final.name}.partial")
        trainer.save_model(str(partial))
        trainer.accelerator.wait_for_everyone()
        if trainer.accelerator.is_main_process:
            partial.replace(final)
            shutil.rmtree(folder, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return callback.stop


def _execution(context: TrialContext) -> Execution:
    return Execution(
        seed=context.spec.seed,
        processes=PartialState().num_processes,
        on_cpu=not torch.cuda.is_available(),
        bf16=context.bf16,
    )
