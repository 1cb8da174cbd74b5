"""The stages of a trial, one after another: SFT, DPO, RL, each with TRL's own trainer.

Steps count over all stages. A trial that ends inside a stage leaves a checkpoint from which it
continues exactly: the length of the learning-rate schedule is always that of the full run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PrinterCallback

from trials.checkpoints.entries import Checkpoint
from trials.models.loading import load_model
from trials.spec.events import read_events
from trials.spec.kinds import Stage, StopRule
from trials.spec.records import Stop
from trials.spec.schedules import own_share
from trials.training.callback import TrialCallback, score
from trials.training.context import TrialContext
from trials.training.saving import save_final, save_stage_end
from trials.training.trainers import dpo_trainer, rl_trainer, sft_trainer

TRAINERS: dict[Stage, Callable[[TrialContext, str | Path, Path], Any]] = {
    "sft": sft_trainer,
    "dpo": dpo_trainer,
    "rl": rl_trainer,
}


def run_stages(context: TrialContext) -> Stop | None:
    """Runs what is left of the trial's stages, up to its last step or until a rule stops it."""
    if context.start and context.start_step >= context.last_step:
        _score_as_it_is(context, context.start)
        return None
    for stage in context.plan.stages:
        if context.plan.end(stage) <= context.start_step:
            continue
        stop = _run_stage(context, stage)
        if stop or context.last_step <= context.plan.end(stage):
            return stop
    return None


def _score_as_it_is(context: TrialContext, start: Checkpoint) -> None:
    """Scores a checkpoint at which the trial ends already, unless the trial that left it did."""
    log = read_events(context.folder / "events.jsonl")
    if not any(event["kind"] == "score" and event["step"] == start.manifest.step for event in log):
        model = load_model(start.payload, dtype=context.weights_dtype).to(PartialState().device)
        score(context, model, start.manifest.stage, start.manifest.step)


def _run_stage(context: TrialContext, stage: Stage) -> Stop | None:
    plan, work = context.plan, context.checkpoints / f".work-{stage}"
    shutil.rmtree(work, ignore_errors=True)
    context.events.write("phase", phase=f"preparing {stage}")
    trainer = TRAINERS[stage](context, context.weights, work)
    trainer.rate_share = own_share(context.hyperparameters, stage, plan.steps(stage))
    callback = TrialCallback(context, stage)
    trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    resume = context.trainer_checkpoint(stage)
    context.events.write(
        "phase",
        phase=stage,
        steps=plan.steps(stage),
        last_step=context.last_step,
        resumed_from=resume,
    )
    trainer.train(resume_from_checkpoint=resume)
    context.events.write("phase", phase=f"{stage}_trained")
    step = plan.start(stage) + trainer.state.global_step
    started, stop = time.monotonic(), callback.stop
    can_go_on = stop is None or stop.rule == StopRule.WALL_CLOCK
    if plan.end(stage) <= step < plan.total and can_go_on:
        context.weights = save_stage_end(context, trainer, stage, step)
    if stop or step >= plan.total:
        # A trial that a rule ended is over: its weights are final where it stopped.
        save_final(context, trainer)
    context.saved(started)
    # Saved first: should the last scoring be interrupted, what was trained is not lost. A rule
    # fires after the step's own evaluation could have been due.
    if stop and step not in context.eval_steps:
        score(context, trainer.model, stage, step)
    if trainer.accelerator.is_main_process:
        shutil.rmtree(work, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return stop
