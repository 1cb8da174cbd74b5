"""Writes what a trial leaves on disk: checkpoints to continue from, and its final model."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accelerate import PartialState

from trials.checkpoints.entries import Kind, Manifest, discard, entry_path, partial_path, publish
from trials.io.atomic import link_tree, put_in_place
from trials.spec.kinds import Stage
from trials.training.context import TrialContext


def save_in_stage(context: TrialContext, written: Path, stage: Stage, step: int) -> None:
    """Publishes what the trainer wrote in the middle of a stage.

    The weights that the stage started from go with it: the KL and DPO's loss are measured against
    them, and a continuation needs the same reference.
    """
    state = PartialState()
    state.wait_for_everyone()  # the random states of the other processes are part of it
    if state.is_main_process:
        partial = _partial(context, step)
        written.replace(partial / "trainer")
        if context.plan.start(stage):
            link_tree(Path(context.weights), partial / "start")
        _publish(context, partial, stage, step, "trainer")
    state.wait_for_everyone()


def save_stage_end(context: TrialContext, trainer: Any, stage: Stage, step: int) -> Path:
    """Saves the weights that the next stage starts from, and returns their folder."""
    state = PartialState()
    target = entry_path(context.folder, step)
    if state.is_main_process:
        _partial(context, step)
    state.wait_for_everyone()
    partial = partial_path(target)
    trainer.save_model(str(partial / "weights"))
    state.wait_for_everyone()
    if not context.spec.keep_checkpoint:
        return partial / "weights"  # cleared away at the end of the trial
    if state.is_main_process:
        _publish(context, partial, stage, step, "weights")
    state.wait_for_everyone()
    return target / "weights"


def save_final(context: TrialContext, trainer: Any) -> None:
    """Saves the model of a trial that is over as ``checkpoint/final``."""
    final = context.checkpoints / "final"
    # Renamed when whole: weights that a killed trial half wrote must not be taken for a model.
    partial = partial_path(final)
    trainer.save_model(str(partial))
    state = PartialState()
    state.wait_for_everyone()
    if state.is_main_process:
        (partial / "training_args.bin").unlink(missing_ok=True)
        put_in_place(partial, final)
    state.wait_for_everyone()


def _publish(context: TrialContext, partial: Path, stage: Stage, step: int, kind: Kind) -> None:
    # A pickle that nothing reads; the arguments come from the spec.
    (partial / kind / "training_args.bin").unlink(missing_ok=True)
    shutil.copyfile(context.folder / "events.jsonl", partial / "events.jsonl")
    manifest = Manifest(
        key=context.keys[stage],
        stage=stage,
        step=step,
        kind=kind,
        trial_id=context.spec.trial_id,
        processes=PartialState().num_processes,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        files={},
    )
    publish(partial, context.folder, manifest)
    _drop_older(context, step)


def _drop_older(context: TrialContext, step: int) -> None:
    """Removes this trial's own checkpoints in the middle of a stage that a later one supersedes."""
    for entry in context.checkpoints.glob("step-*"):
        if (entry / "trainer").is_dir() and entry.name < entry_path(context.folder, step).name:
            discard(entry)


def _partial(context: TrialContext, step: int) -> Path:
    """A new, empty folder to write into."""
    partial = partial_path(entry_path(context.folder, step))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial
