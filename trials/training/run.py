"""One trial from its spec to its result; and the program that runs a few by hand.

    accelerate launch -m trials.training.run runs/R/trials/T/spec.json              # one device
    accelerate launch --config_file eight_gpus.yaml -m trials.training.run .../spec.json   # eight

Under a supervisor, ``trials.process.worker`` calls ``run_trial`` for many trials in one process.
"""

from __future__ import annotations

import gc
import shutil
import sys
import traceback
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from transformers import set_seed

from trials.checkpoints.entries import clear_partials
from trials.checkpoints.resume_point import resume_from
from trials.io.output import exit_now
from trials.io.watchdog import end_with_supervisor
from trials.models.loading import settle_device
from trials.models.memory import peak_memory_bytes, reset_peak_memory
from trials.outcomes.failures import failure_of
from trials.outcomes.outcome import facts, trial_result
from trials.spec.events import EventLog, read_events
from trials.spec.kinds import TRANSIENT_KINDS
from trials.spec.records import Failure, Stop, TrialResult, TrialSpec, read_record, write_json
from trials.training.context import prepare
from trials.training.stages import run_stages


def main(spec_files: list[str]) -> int:
    """Runs every spec and says how it ended; a trial that fails does not stop the next.

    Returns:
        An exit code: 0 when none failed, 1 when one did, 2 when a file is no spec.
    """
    end_with_supervisor()
    settle_device()
    code = 0
    for file in spec_files:
        try:
            spec = read_record(Path(file), TrialSpec)
        except (OSError, ValueError) as error:
            print(f"{file} is not a trial's spec.json: {error}", file=sys.stderr)
            return 2
        result = run_trial(spec)
        code = 1 if result.failure else code
        if PartialState().is_main_process:
            print(f"{spec.folder}: {_ending(result)}")
    return code


def _ending(result: TrialResult) -> str:
    if result.failure:
        return f"failed ({result.failure.kind}): {result.failure.message}"
    why = f" by {result.stop.rule} at step {result.stop.step}" if result.stop else ""
    return f"{result.state}{why}, validation score {result.score:.3f} ± {result.score_se:.3f}"


def run_trial(spec: TrialSpec) -> TrialResult:
    """Runs one trial and writes ``events.jsonl`` and ``result.json`` into its folder.

    What happens inside is recorded, not raised: how a trial failed is a result to learn from.
    """
    folder = Path(spec.folder)
    if (folder / "result.json").exists():
        return read_record(folder / "result.json", TrialResult)
    folder.mkdir(parents=True, exist_ok=True)
    _clean_state(spec.seed)
    stop: Stop | None = None
    failure: Failure | None = None
    start = resume_from(spec)
    is_main = PartialState().is_main_process
    events = EventLog(folder / "events.jsonl", active=is_main, before=start.seconds_before)
    try:
        events.write(
            "phase",
            phase="loading",
            trial_id=spec.trial_id,
            inherited_step=start.inherited_step,
            continued_from=str(start.checkpoint.path) if start.checkpoint else None,
        )
        context = prepare(spec, events, start.checkpoint)
        known = facts(context.plan, context.parameters, context.hyperparameters)
        events.write(
            "facts",
            inherited_step=start.inherited_step,
            completion_tokens=dict(zip(("limit", "most"), context.completions, strict=True)),
            **known,
        )
        stop = run_stages(context)
        if stop:
            events.write("stop", **stop.model_dump())
    except Exception as error:
        traceback.print_exc()
        failure = failure_of(error, folder)
        _give_up_if_not_alone(folder, failure)
    return _conclude(spec, events, stop, failure)


def _conclude(
    spec: TrialSpec, events: EventLog, stop: Stop | None, failure: Failure | None
) -> TrialResult:
    """The result, on disk; what is not to be kept is removed first, for the disk may be full."""
    folder = Path(spec.folder)
    if events.active:
        hopeless = failure is not None and failure.kind not in TRANSIENT_KINDS
        if hopeless or not spec.keep_checkpoint:
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        clear_partials(folder)
    log = list(read_events(folder / "events.jsonl"))
    result = trial_result(spec, log, events.seconds, stop, failure, peak_memory_bytes())
    events.close()
    if events.active:
        write_json(folder / "result.json", result)
    return result


def _clean_state(seed: int) -> None:
    """Random numbers, memory and Accelerate's shared state as in a new process."""
    AcceleratorState._reset_state(reset_partial_state=False)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    reset_peak_memory()
    set_seed(seed)


def _give_up_if_not_alone(folder: Path, failure: Failure) -> None:
    """Ends a process of several: the others may wait for it in a collective operation for ever.

    The supervisor sees the worker end, and takes the reason from the file.
    """
    state = PartialState()
    if state.num_processes > 1:
        write_json(folder / f"failure.{state.process_index}.json", failure)
        exit_now(1)


if __name__ == "__main__":
    exit_now(main(sys.argv[1:]))
