"""The point at which a trial starts: the model, or a checkpoint with the curve that led to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from trials.checkpoints.entries import Checkpoint, clear_partials, problems, read_checkpoint
from trials.checkpoints.registry import clear_leftovers, last_checkpoint
from trials.io.atomic import link_tree
from trials.spec.events import Event, read_events
from trials.spec.records import TrialSpec


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint that a trial continues from, and what of it was paid for before.

    Attributes:
        checkpoint: to resume from; None to start from the model.
        inherited_step: steps up to here were paid for by another trial.
        seconds_before: that an interrupted attempt at this trial spent on what is kept of it.
    """

    checkpoint: Checkpoint | None
    inherited_step: int
    seconds_before: float


def resume_from(spec: TrialSpec) -> ResumePoint:
    """Prepares the folder of a trial and finds the point that it resumes from.

    The curve up to the checkpoint becomes the beginning of the trial's own. A checkpoint that is
    not whole is not used; then the trial starts from nothing.
    """
    state = PartialState()
    checkpoint = _furthest(spec, state.num_processes)
    before = list(read_events(checkpoint.events)) if checkpoint else []
    start = ResumePoint(checkpoint, *_spent(before, spec.trial_id, checkpoint))
    # Read by all before it is changed by one: the checkpoint may lie in this very folder.
    state.wait_for_everyone()
    if state.is_main_process:
        _lay_out(Path(spec.folder), checkpoint, before)
    state.wait_for_everyone()
    return start


def _furthest(spec: TrialSpec, processes: int) -> Checkpoint | None:
    """The further one of what an interrupted attempt left and what the spec names, if any."""
    named = read_checkpoint(Path(spec.continue_from)) if spec.continue_from else None
    usable = [
        checkpoint
        for checkpoint in (last_checkpoint(Path(spec.folder)), named)
        if checkpoint
        and checkpoint.manifest.processes == processes
        and not problems(checkpoint, deep=False)
    ]
    return max(usable, key=lambda checkpoint: checkpoint.manifest.step, default=None)


def stage_start_weights(folder: Path) -> Path:
    """Folder in which a trial that resumes itself keeps the weights that its stage started from."""
    return folder / "checkpoint" / ".start"


def _spent(before: list[Event], trial_id: str, checkpoint: Checkpoint | None) -> tuple[int, float]:
    """The step up to which others paid, and the seconds that this trial has spent already."""
    if checkpoint is None:
        return 0, 0.0
    for number, event in enumerate(before):
        if event.get("phase") == "loading" and event.get("trial_id") == trial_id:
            seconds = max(later["seconds"] for later in before[number:])
            return int(event["inherited_step"]), float(seconds)
    return checkpoint.manifest.step, 0.0


def _lay_out(folder: Path, checkpoint: Checkpoint | None, before: list[Event]) -> None:
    if checkpoint and checkpoint.path.is_relative_to(folder):
        clear_partials(folder)
        shutil.rmtree(folder / "checkpoint" / "final", ignore_errors=True)
        if (checkpoint.path / "start").is_dir():
            # The next checkpoint of this trial replaces the one that holds it.
            link_tree(checkpoint.path / "start", stage_start_weights(folder))
    else:
        clear_leftovers(folder)
    # These belong to the trial that they were written in.
    kept = [event for event in before if event["kind"] not in ("stop", "evaluating", "facts")]
    text = "".join(json.dumps(event) + "\n" for event in kept)
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
