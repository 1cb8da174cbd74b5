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

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from surrogates.encoding import SpaceEncoder
from tasks.devices import launchers_for, memory_share
from tasks.history import history_row
from tasks.history_checks import append_checked
from tasks.prepare import Inputs, prepare_datasets
from tasks.progress import Progress, quiet
from tasks.settings import CollectSettings
from tasks.spaces import load_space, plain
from tasks.trial import give_up, is_fatal, result_file, submit_trial
from trials.errors import AutoPipeError
from trials.records import Fidelity, TrialResult, TrialSpec, read_record
from trials.supervisor import Supervisor


def collect(
    settings: CollectSettings,
    folder: Path,
    history: Path,
    on_result: Callable[[TrialSpec, TrialResult], None] | None = None,
    on_probe: Progress = quiet,
) -> list[Path]:
    """Runs the flow with as many workers as ``settings.parallel``; returns the history files."""
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.parallel)
    flow_of_run = collect_flow.with_options(task_runner=runner)
    return flow_of_run(settings, folder, history, on_result, on_probe)


@flow(name="collect", validate_parameters=False)
def collect_flow(
    settings: CollectSettings,
    folder: Path,
    history: Path,
    on_result: Callable[[TrialSpec, TrialResult], None] | None,
    on_probe: Progress,
) -> list[Path]:
    """Prepares every dataset, runs its design, and appends one history file each.

    Args:
        settings: checked settings of the run.
        folder: of the run; finished trials in it are not run again.
        history: folder of parquet files to append to.
        on_result: told of every trial that ended.
        on_probe: told how many datasets the base model was measured on, and of how many.

    Raises:
        AutoPipeError: when a trial failed in a way that all others would, too.
    """
    launchers = launchers_for(settings.parallel, settings.threads)
    inputs = prepare_datasets(
        settings.datasets,
        settings.model,
        settings.schedule,
        launchers[0],
        settings.compute,
        on_probe,
    )
    designs = [design(settings, each, folder / "trials" / folder_name(each)) for each in inputs]
    # Interrupted or terminated, no training process is left behind.
    with Supervisor(launchers) as supervisor:
        pending = [
            (spec, submit_trial(spec, supervisor, settings.retries))
            for specs in designs
            for spec in specs
        ]
        for spec, future in pending:
            result = future.result()
            if is_fatal(result):
                give_up(spec, result, "repeat the command: finished trials are kept")
            if on_result:
                on_result(spec, result)
    files = [
        append_dataset(each, specs, folder.name, history)
        for each, specs in zip(inputs, designs, strict=True)
    ]
    return [file for file in files if file is not None]


def folder_name(inputs: Inputs) -> str:
    """A dataset's id as the name of a folder: what a dataset calls itself never becomes a path."""
    return re.sub(r"[^\w.-]", "-", inputs.dataset_id).lstrip(".") or "dataset"


def design(settings: CollectSettings, inputs: Inputs, folder: Path) -> list[TrialSpec]:
    """The default configuration and a scrambled Sobol sample, another one for every dataset.

    With the same design seed the same configurations, for any model, trained with any seed; fewer
    of them are the first ones of more.
    """
    encoder = SpaceEncoder(load_space(settings.space))
    compute = settings.compute
    if compute.memory_bytes is None:
        share = memory_share(settings.parallel)
        compute = compute.model_copy(update={"memory_bytes": share})
    seed = settings.seed if settings.design_seed is None else settings.design_seed
    seed += zlib.crc32(inputs.dataset_id.encode())
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
            limits=settings.limits,
            compute=compute,
            keep_checkpoint=False,
        )
        for number, config in enumerate(configs)
    ]


def append_dataset(
    inputs: Inputs, specs: list[TrialSpec], run_id: str, history: Path
) -> Path | None:
    """One history file with all trials of one dataset that pass the checks; None without any.

    Raises:
        AutoPipeError: when a trial has no result, for the disk was full or it was removed.
    """
    missing = [spec.folder for spec in specs if not result_file(spec).exists()]
    if missing:
        raise AutoPipeError(
            f"no result.json in {', '.join(missing)}: it could not be written, or was removed\n"
            "  Look for a full disk, then repeat the command: only these trials are run again"
        )
    rows = [
        history_row(
            spec,
            read_record(result_file(spec), TrialResult),
            run_id=run_id,
            dataset_id=inputs.dataset_id,
            model_id=inputs.model_id,
            meta=inputs.meta,
        )
        for spec in specs
    ]
    file, _ = append_checked(rows, history, f"{run_id}--{folder_name(inputs)}")
    return file
