"""The program that ``accelerate launch`` runs: one SFT -> RL trial for each spec file given.

    accelerate launch -m trials.run runs/R/trials/T/spec.json                       # one device
    accelerate launch --config_file eight_gpus.yaml -m trials.run .../spec.json     # eight

Several specs run one after another in the same process, each from a clean state.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from transformers import set_seed

from trials.context import TrialContext, peak_memory_bytes, prepare
from trials.errors import DatasetError, HyperparameterError, ModelError, RewardError
from trials.events import EventLog, curve, read_events
from trials.leftovers import clear_leftovers
from trials.provenance import provenance
from trials.records import (
    LOG_TAIL_LINES,
    Cost,
    Failure,
    FailureKind,
    Stop,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)
from trials.signals import signals_at
from trials.stages import run_rl, run_sft
from trials.stopping import Diverged
from trials.watchdog import end_with_supervisor

BAD_INPUT = (DatasetError, HyperparameterError, ModelError, RewardError)


def main(spec_files: list[str]) -> None:
    """Runs every spec; a trial that fails leaves a failed result, and the next one is run."""
    end_with_supervisor()
    gc.freeze()  # collections between trials need not walk through all that was imported
    for file in spec_files:
        run_trial(read_record(Path(file), TrialSpec))


def run_trial(spec: TrialSpec) -> TrialResult:
    """Runs one trial and writes ``events.jsonl`` and ``result.json`` into its folder."""
    folder = Path(spec.folder)
    if (folder / "result.json").exists():
        return read_record(folder / "result.json", TrialResult)
    folder.mkdir(parents=True, exist_ok=True)
    _clean_state(spec.seed)
    inherited = _adopt(spec, folder)
    is_main = PartialState().is_main_process
    events = EventLog(folder / "events.jsonl", active=is_main)
    events.write("phase", phase="loading", inherited_events=inherited)
    context: TrialContext | None = None
    stop: Stop | None = None
    failure: Failure | None = None
    try:
        context = prepare(spec, events)
        stop = run_sft(context)
        if stop is None and context.last_step > context.sft_steps:
            stop = run_rl(context)
    except Exception as error:
        # Recorded, not raised: how a trial failed is a result to learn from.
        traceback.print_exc()
        lines = traceback.format_exc().splitlines()[-LOG_TAIL_LINES:]
        failure = Failure(
            kind=_failure_kind(error),
            message=f"{type(error).__name__}: {error}",
            log_tail="\n".join(lines),
        )
    if stop:
        events.write("stop", **stop.model_dump())
    result = _result(spec, context, events, stop, failure)
    events.close()
    if is_main:
        _tidy_checkpoints(spec, folder, result)
        write_json(folder / "result.json", result)
    return result


def _clean_state(seed: int) -> None:
    """Random numbers, memory and Accelerate's shared state as in a new process."""
    if PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=False)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    set_seed(seed)


def _adopt(spec: TrialSpec, folder: Path) -> int:
    """Copies checkpoint and events of the trial that is continued; returns the events inherited.

    What an interrupted attempt left is thrown away first: a half-written checkpoint must not be
    continued, and what is run again is paid for again.
    """
    if PartialState().is_main_process:
        clear_leftovers(folder)
        parent = Path(spec.continue_from or folder)
        # `prepare` refuses what cannot be adopted.
        if (parent / "checkpoint").exists() and (parent / "events.jsonl").exists():
            shutil.copytree(parent / "checkpoint", folder / "checkpoint")
            shutil.copyfile(parent / "events.jsonl", folder / "events.jsonl")
    PartialState().wait_for_everyone()
    return sum(1 for _ in read_events(folder / "events.jsonl"))


def _result(
    spec: TrialSpec,
    context: TrialContext | None,
    events: EventLog,
    stop: Stop | None,
    failure: Failure | None,
) -> TrialResult:
    log = list(read_events(Path(spec.folder) / "events.jsonl"))
    scores = [event for event in log if event["kind"] == "score"]
    if failure is None and not scores:
        failure = Failure(kind="crashed", message="the trial ended without any score")
    points = _unrepeated(curve(log))
    total = spec.schedule.total_steps
    reached = max((point.step for point in points), default=0)
    return TrialResult(
        trial_id=spec.trial_id,
        state="failed" if failure else "stopped" if stop else "completed",
        fraction=min(1.0, reached / total) if stop or failure else spec.fidelity.fraction,
        score=None if failure else scores[-1]["values"]["score"],
        score_se=None if failure else scores[-1]["score_se"],
        curve=points,
        signals=signals_at(points, reached, context.sft_steps, total) if context else {},
        cost=_cost(log, context, events.seconds),
        checkpoint="checkpoint" if spec.keep_checkpoint and not failure else None,
        failure=failure,
        stop=stop,
        provenance=provenance(spec),
    )


def _unrepeated(points: list[Any]) -> list[Any]:
    """The last value for each stage, step and metric: a resumed trial may repeat some steps."""
    latest = {(point.step, point.stage, point.metric): point for point in points}
    return sorted(latest.values(), key=lambda point: point.step)


def _cost(log: list[dict[str, Any]], context: TrialContext | None, seconds: float) -> Cost:
    """Cost of this trial alone: 6 N FLOPs per trained, 2 N per generated or scored token."""
    if context is None:
        return Cost(seconds=seconds, peak_memory_bytes=peak_memory_bytes())
    n, beta = context.parameters, context.hyperparameters.rl_beta
    per_token = {"sft": 6 * n, "rl": (8 + 2 * (beta > 0)) * n}
    flops, tokens = 0, 0
    own = _own_events(log)
    for stage in ("sft", "rl"):
        trained = sum(_increments([e for e in log if e["kind"] == "metric"], stage, own))
        flops += trained * per_token[stage]
        tokens += trained
    generated = context.evaluator.tokens
    return Cost(
        seconds=seconds,
        flops=float(flops + 2 * n * generated),
        tokens=tokens + generated,
        peak_memory_bytes=peak_memory_bytes(),
    )


def _own_events(log: list[dict[str, Any]]) -> set[int]:
    """Identities of the events after the last start; those before were paid for by others."""
    starts = [i for i, event in enumerate(log) if event.get("phase") == "loading"]
    return {id(event) for event in log[starts[-1] if starts else 0 :]}


def _increments(metrics: list[dict[str, Any]], stage: str, own: set[int]) -> Iterator[int]:
    """Tokens of each own step, from TRL's running count, which may start anew after a resume."""
    last = 0
    for event in metrics:
        if event["stage"] != stage:
            continue
        increment = event["tokens"] - last if event["tokens"] >= last else event["tokens"]
        last = event["tokens"]
        if id(event) in own:
            yield increment


def _tidy_checkpoints(spec: TrialSpec, folder: Path, result: TrialResult) -> None:
    """Keeps what a continuation or an export needs, and nothing of a failed trial."""
    checkpoint = folder / "checkpoint"
    if not spec.keep_checkpoint or result.state == "failed":
        shutil.rmtree(checkpoint, ignore_errors=True)
    elif (checkpoint / "final").exists():
        shutil.rmtree(checkpoint / "sft_final", ignore_errors=True)
    elif spec.fidelity.fraction == 1.0 and (checkpoint / "sft_final").exists():
        (checkpoint / "sft_final").replace(checkpoint / "final")  # there was no RL stage


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return "out_of_memory"
    if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
        return "out_of_memory"
    # Sampling from logits that are NaN is how a diverged policy shows in generation.
    if "probability tensor contains either" in str(error):
        return "diverged"
    return "bad_data" if isinstance(error, BAD_INPUT) else "crashed"


if __name__ == "__main__":
    main(sys.argv[1:])
    # Interpreter shutdown with loaded torch threads may hang or crash after all work is done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0) if PartialState().num_processes == 1 else sys.exit(0)
