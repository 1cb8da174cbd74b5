"""Collect: a space-filling design of full-length trials over datasets, for the history.

    autopipe collect chain_sum gcd --model tiny-1m --configurations 30 --parallel 2

Trials are kept in the run's folder; run the same command again and only what is missing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.config.names import slug
from tasks.config.paths import runs_folder
from tasks.config.settings import CollectSettings
from tasks.execution.backend import ExecutionBackend
from tasks.execution.base import is_fatal
from tasks.execution.gpus import reserve_launchers
from tasks.execution.trial import abort_run
from tasks.history.location import resolve_history_dir
from tasks.history.rows import history_files
from tasks.inputs.auto_space import FittingSpace, design_space, keep_space
from tasks.inputs.prepare import CheckedInputs, Inputs, find_datasets, probe_datasets
from tasks.monitoring import observers
from tasks.monitoring.prefect_pages import artifact_key, publish_table
from tasks.output.escape import markdown
from tasks.runs.folder import RunFolder
from tasks.runs.versions import HISTORY_NAME, dataset_name
from tasks.search.design import append_dataset, design, summary_row
from tasks.sync.lock import run_lock
from tasks.versioning.provenance import version_inputs, version_outputs
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import TrialResult, TrialSpec


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
        SettingsError: a space cannot be used, or not for the model; nothing was run then.
        AutoPipeError: when a trial failed in a way that all others would, too.
    """
    run = RunFolder(runs_folder() / slug(name))
    with run_lock(run.path), observers.observe(run) as observer:
        observer.phase("preparing the datasets")
        found = find_datasets(settings.datasets, settings.model, settings.schedule)
        spaces = _spaces(settings, run, found, observer)
        with reserve_launchers(
            settings.parallel, settings.threads, on_wait=observer.phase
        ) as launchers:
            observer.phase("probing the base model")
            with Supervisor(launchers[0]) as measurer:
                inputs = probe_datasets(
                    found,
                    measurer,
                    settings.compute,
                    lambda done, total: observer.notify(observers.DatasetsProbed(done, total)),
                )
            version_inputs(
                run.path, {dataset_name(each.dataset_id): each.dataset.path for each in inputs}
            )
            designs = [
                (each, _design(settings, run, each, space))
                for each, space in zip(inputs, spaces, strict=True)
            ]
            trials = [spec for _, specs in designs for spec in specs]
            results = _run_trials(settings, trials, launchers, observer)
    publish_table(
        [summary_row(each, [results[spec.folder] for spec in specs]) for each, specs in designs],
        key=artifact_key(run, "datasets"),
        description=f"Trials of {markdown(run.run_id)} on each dataset",
    )
    history = resolve_history_dir(history)
    files = [append_dataset(each, specs, run.run_id, history) for each, specs in designs]
    version_outputs(run.path, {HISTORY_NAME: history_files(history)})
    return [file for file in files if file is not None]


def _spaces(
    settings: CollectSettings,
    run: RunFolder,
    found: Sequence[CheckedInputs],
    observer: observers.RunObserver,
) -> list[FittingSpace]:
    """The space of each dataset, and where rates begin, said once for all that agree."""
    spaces = [
        design_space(settings, len(each.dataset.preferences), _folder(run, each)) for each in found
    ]
    for note in dict.fromkeys(each.note for each in spaces if each.note):
        observer.message(note)
    return spaces


def _design(
    settings: CollectSettings, run: RunFolder, inputs: Inputs, space: FittingSpace
) -> list[TrialSpec]:
    """The trials of one dataset, with their space kept beside them for a run that is resumed."""
    kept = keep_space(space, folder := _folder(run, inputs))
    return design(settings.model_copy(update={"space": kept}), inputs, folder)


def _folder(run: RunFolder, inputs: CheckedInputs) -> Path:
    return run.trial_folder(slug(inputs.dataset_id))


def _run_trials(
    settings: CollectSettings,
    trials: Sequence[TrialSpec],
    launchers: Sequence[Launcher],
    observer: observers.RunObserver,
) -> dict[str, TrialResult]:
    """Results by folder; ends with the first failure that all trials would share."""
    observer.phase("running trials")
    # Interrupted or terminated, no training process is left behind.
    with (
        ThreadPoolTaskRunner[TrialResult](max_workers=settings.parallel) as tasks,
        Supervisor(
            launchers, lambda spec, event: observer.notify(observers.TrialLogged(spec, event))
        ) as supervisor,
    ):
        backend, results = ExecutionBackend(supervisor, tasks, settings.retries), {}
        pending = [(spec, backend.submit(spec)) for spec in trials]
        for done, (spec, future) in enumerate(pending, 1):
            results[spec.folder] = result = future.result()
            if is_fatal(result):
                abort_run(spec, result, "repeat the command: finished trials are kept")
            observer.notify(observers.TrialFinished(spec, result))
            observer.notify(observers.BudgetSpent(done / len(pending)))
    return results
