"""Collect: a space-filling design of full-length trials over datasets, for the history.

    autopipe collect chain_sum gcd --model tiny-1m --configurations 30 --parallel 2

Trials are kept in the run's folder; run the same command again and only what is missing is done.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from surrogates.space.encoding import SpaceEncoder
from tasks.config.names import slug
from tasks.config.paths import runs_folder
from tasks.config.settings import CollectSettings
from tasks.execution.backend import ExecutionBackend
from tasks.execution.base import is_fatal, result_file
from tasks.execution.devices import memory_share
from tasks.execution.gpus import reserve_launchers
from tasks.execution.trial import abort_run
from tasks.history.checks import append_checked
from tasks.history.location import resolve_history_dir
from tasks.history.rows import history_files, history_row
from tasks.inputs.prepare import Inputs, prepare_datasets
from tasks.inputs.spaces import load_space, plain_values
from tasks.monitoring.observers import observe
from tasks.monitoring.prefect_pages import artifact_key, publish_table
from tasks.output.escape import markdown
from tasks.runs.folder import RunFolder
from tasks.runs.formatting import format_duration, plus_minus
from tasks.runs.versions import HISTORY_NAME, dataset_name
from tasks.sync.lock import run_lock
from tasks.versioning.provenance import version_inputs, version_outputs
from trials.io.errors import AutoPipeError
from trials.process.supervisor import Supervisor
from trials.spec.records import Fidelity, TrialResult, TrialSpec, read_record


@flow(name="collect", flow_run_name="{settings.title}")
def collect(
    settings: CollectSettings, name: str = "collect", history: Path | None = None
) -> list[Path]:
    """Run a space-filling design of full-length trials on each dataset, for the history.

    Args:
        settings: Datasets, model, how many configurations, and how trials are run.
        name: Of the run; the same name resumes it, and runs only what is missing.
        history: Folder of parquet files to append to; empty: the project's.

    Returns:
        The new history files, one for each dataset.

    Raises:
        AutoPipeError: when a trial failed in a way that all others would, too.
    """
    run = RunFolder(runs_folder() / slug(name))
    with (
        run_lock(run.path),
        observe(run) as observer,
        reserve_launchers(settings.parallel, settings.threads, on_wait=observer.phase) as launchers,
    ):
        observer.phase("preparing the datasets and probing the base model")
        with Supervisor(launchers[0]) as measurer:
            inputs = prepare_datasets(
                settings.datasets,
                settings.model,
                settings.schedule,
                measurer,
                settings.compute,
                observer.probed,
            )
        version_inputs(
            run.path, {dataset_name(each.dataset_id): each.dataset.path for each in inputs}
        )
        designs = [design(settings, each, run.trial_folder(folder_name(each))) for each in inputs]
        observer.phase("running trials")
        # Interrupted or terminated, no training process is left behind.
        with (
            ThreadPoolTaskRunner[TrialResult](max_workers=settings.parallel) as tasks,
            Supervisor(launchers, observer.event) as supervisor,
        ):
            backend, results = ExecutionBackend(supervisor, tasks, settings.retries), {}
            pending = [(spec, backend.submit(spec)) for specs in designs for spec in specs]
            for done, (spec, future) in enumerate(pending, 1):
                results[spec.folder] = result = future.result()
                if is_fatal(result):
                    abort_run(spec, result, "repeat the command: finished trials are kept")
                observer.result(spec, result)
                observer.spent(done / len(pending))
    publish_table(
        [
            summary_row(each, [results[spec.folder] for spec in specs])
            for each, specs in zip(inputs, designs, strict=True)
        ],
        key=artifact_key(run, "datasets"),
        description=f"Trials of {markdown(run.run_id)} on each dataset",
    )
    history = resolve_history_dir(history)
    files = [
        append_dataset(each, specs, run.run_id, history)
        for each, specs in zip(inputs, designs, strict=True)
    ]
    version_outputs(run.path, {HISTORY_NAME: history_files(history)})
    return [file for file in files if file is not None]


def folder_name(inputs: Inputs) -> str:
    """A dataset's id as the name of a folder."""
    return slug(inputs.dataset_id)


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
            config=plain_values(config),
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


def summary_row(inputs: Inputs, results: list[TrialResult]) -> dict[str, str]:
    """How a dataset's trials went, the default configuration being the first."""
    scores = [result.score for result in results if result.score is not None]
    return {
        "dataset": inputs.dataset_id,
        "trials": str(len(results)),
        "failed": str(sum(result.failure is not None for result in results)),
        "default": plus_minus(results[0].score, results[0].score_se),
        "best": plus_minus(max(scores, default=None), None),
        "time": format_duration(sum(result.cost.seconds for result in results)),
    }


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
    file, _ = append_checked(rows, history, f"{run_id}--{folder_name(inputs)}", one_run=True)
    return file
