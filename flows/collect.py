"""Collect: a space-filling design of full-length trials over datasets, for the history.

    autopipe collect chain_sum gcd --model tiny-1m --configurations 30 --parallel 2

Trials are kept in the run's folder; run the same command again and only what is missing is done.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from surrogates.encoding import SpaceEncoder
from tasks.devices import launchers_for
from tasks.history import append_history, history_row
from tasks.prepare import Inputs, prepare_inputs
from tasks.settings import CollectSettings
from tasks.spaces import load_space, plain
from trials.records import Fidelity, TrialResult, TrialSpec, read_record
from trials.supervisor import Supervisor


def collect(
    settings: CollectSettings,
    folder: Path,
    history: Path,
    on_result: Callable[[TrialSpec, TrialResult], None] | None = None,
) -> list[Path]:
    """Runs the flow with as many workers as ``settings.parallel``; returns the history files."""
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.parallel)
    return collect_flow.with_options(task_runner=runner)(settings, folder, history, on_result)


@flow(name="collect", validate_parameters=False)
def collect_flow(
    settings: CollectSettings,
    folder: Path,
    history: Path,
    on_result: Callable[[TrialSpec, TrialResult], None] | None = None,
) -> list[Path]:
    """Prepares every dataset, runs its design in batches, and appends one history file each."""
    launchers = launchers_for(settings.parallel)
    prepared = [
        prepare_inputs.submit(name, settings.model, settings.schedule, launchers[0])
        for name in settings.datasets
    ]
    inputs = [future.result() for future in prepared]
    designs = [design(settings, each, folder / "trials" / folder_name(each)) for each in inputs]
    # Interrupted or terminated, no training process is left behind.
    with Supervisor(launchers, on_result=on_result) as supervisor:
        batches = [batch for specs in designs for batch in batched(specs, settings.batch)]
        pending = [run_batch.submit(batch, supervisor) for batch in batches]
        wait(pending)
    for future in pending:
        future.result()  # raises what a batch raised
    return [
        append_dataset(each, specs, folder.name, history)
        for each, specs in zip(inputs, designs, strict=True)
    ]


def folder_name(inputs: Inputs) -> str:
    """A dataset's id as the name of a folder: what a dataset calls itself never becomes a path."""
    return re.sub(r"[^\w.-]", "-", inputs.dataset_id).lstrip(".") or "dataset"


def design(settings: CollectSettings, inputs: Inputs, folder: Path) -> list[TrialSpec]:
    """The default configuration and a scrambled Sobol sample, another one for every dataset."""
    encoder = SpaceEncoder(load_space(settings.space))
    seed = settings.seed + zlib.crc32(inputs.dataset_id.encode())
    configs = [encoder.default(), *encoder.sample(settings.configurations - 1, seed)]
    return [
        TrialSpec(
            trial_id=f"{number:04d}",
            dataset=str(inputs.dataset.path),
            dataset_fingerprint=inputs.dataset.fingerprint,
            config=plain(config),
            fidelity=Fidelity(model=inputs.model, fraction=1.0),
            seed=settings.seed,
            folder=str(folder / f"{number:04d}"),
            model_fingerprint=inputs.model_fingerprint,
            schedule=inputs.schedule,
            stopping=settings.stopping,
            keep_checkpoint=False,
        )
        for number, config in enumerate(configs)
    ]


def batched(specs: list[TrialSpec], size: int) -> list[list[TrialSpec]]:
    """Consecutive parts of at most ``size``."""
    return [specs[start : start + size] for start in range(0, len(specs), size)]


@task(cache_policy=NO_CACHE)
def run_batch(specs: list[TrialSpec], supervisor: Supervisor) -> list[TrialResult]:
    """Runs the trials of a batch that have no result yet, one after another."""
    return supervisor.run_all(specs)


def append_dataset(inputs: Inputs, specs: list[TrialSpec], run_id: str, history: Path) -> Path:
    """One history file with all trials of one dataset; all of them have results."""
    rows = [
        history_row(
            spec,
            read_record(Path(spec.folder) / "result.json", TrialResult),
            run_id=run_id,
            dataset_id=inputs.dataset_id,
            model_id=inputs.model_id,
            meta=inputs.meta,
        )
        for spec in specs
    ]
    return append_history(rows, history, f"{run_id}--{folder_name(inputs)}")
