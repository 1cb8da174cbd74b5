"""Tune: find the best configuration of SFT -> RL for one dataset and model, under a budget.

autopipe tune chain_sum --model tiny-1m --budget 12 --parallel 2 --seed 0
autopipe tune --resume RUN
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from ConfigSpace import ConfigurationSpace
from prefect import flow

from flows.terminal.interrupts import interrupts
from surrogates.online.search import OfflineModels, Search
from tasks.config.settings import TuneSettings
from tasks.delivery.export import export_best
from tasks.execution.backend import ExecutionBackend, open_backend, open_measurer
from tasks.history.rows import history_files
from tasks.inputs.prepare import Inputs, find_inputs, probe_inputs
from tasks.inputs.proxies import (
    find_proxies,
    probe_proxies,
    search_levels,
    with_proxies_named,
)
from tasks.inputs.spaces import plain_values
from tasks.monitoring import observers
from tasks.offline.models import OfflineTraining
from tasks.offline.validate import document_history, validate_dataset
from tasks.planning.plan import (
    TimePlan,
    make_plan,
    offline_wait_seconds,
    plan_proxies,
    progress_to,
)
from tasks.report.build import write_report
from tasks.runs.folder import RunInfo, Summary
from tasks.runs.formatting import finished_before
from tasks.runs.join_history import append_run_to_history
from tasks.search.begin import (
    begin_run,
    pin_history,
    record_history_use,
    repetition_text,
    space_of_run,
)
from tasks.search.conclude import conclude
from tasks.search.job import Job, open_job
from tasks.search.loop import SearchLoop
from tasks.search.naming import flow_run_title
from tasks.search.past import past_on_proxies, past_text
from tasks.search.stages import stages_of
from tasks.versioning.provenance import (
    version_export,
    version_history_and_models,
    version_run_inputs,
)
from trials.spec.records import TrialResult, TrialSpec


@flow(name="tune", flow_run_name=flow_run_title)
def tune(
    settings: TuneSettings | None = None, run: str | None = None, history: Path | None = None
) -> str:
    """Find the best configuration of SFT -> RL for one dataset and model, under a budget.

    Args:
        settings: What to tune, with what budget, and how trials are run. Of a resumed run only the
            budget counts; empty keeps that, too.
        run: Id, folder or URL of a run to resume; empty begins a new one.
        history: Folder of parquet files to learn from and to append to; empty: the project's, or
            that of the resumed run.

    Returns:
        The id of the run.

    Raises:
        SettingsError: neither settings nor a run are given, something in them cannot work, or a
            time budget is too short, with settings that fit it.
    """
    with open_job(settings, run, history, interrupts.before_the_end) as job:
        # Whatever ends the run, no training process outlives the backend.
        with open_backend(job.settings, job.folder, job.launchers, job.on_event) as backend:
            ready = _prepare(job, backend)
            loop = _search(job, backend, ready)
            # First: trials are kept even when none can be recommended.
            if kept := append_run_to_history(job.folder, job.history):
                job.observer.message(f"the trials are added to the history: {kept}")
            version_history_and_models(job.folder, history_files(job.history), ready.offline)
            summary = _measure(job, backend, ready, loop)
        export_best(job.folder)
        write_report(job.folder)
        job.observer.phase("done")
        job.observer.notify(observers.RunFinished(summary))
        version_export(job.folder)
    return job.folder.run_id


@dataclass(frozen=True)
class _Ready:
    """Everything that a run knows before its first trial."""

    plan: TimePlan
    inputs: Inputs
    proxies: list[Inputs]
    past: pd.DataFrame | None  # earlier trials of the proxies on this data
    info: RunInfo
    offline: OfflineModels | None
    space: ConfigurationSpace


def _prepare(job: Job, backend: ExecutionBackend) -> _Ready:
    """Checks the data, plans, and probes the base model, with the offline models made meanwhile."""
    folder, observer = job.folder, job.observer
    observer.phase("checking the dataset and the model")
    backend.warm_up()
    found = find_inputs(job.settings)
    searched = space_of_run(job.settings, folder, found)
    settings, space = with_proxies_named(searched.settings), searched.space
    smaller = find_proxies(settings, found)
    validate_dataset(found, folder)
    learned = pin_history(settings, folder, found, job.history)
    if text := repetition_text(learned):
        observer.message(text)
    # A resumed search has to know what it knew, or it would not find its trials again.
    files = [] if learned.used is False else learned.files
    pairs = [(proxy.model_id, found.model_id) for proxy in smaller]
    with OfflineTraining(files, space, learned.features, pairs) as training:
        observer.phase("measuring what a trial costs")
        plan = make_plan(
            settings, folder, found, space, backend, job.launchers, job.ledger, training
        )
        observer.message(plan.text)
        if searched.note:
            observer.message(searched.note)
        observer.phase("probing the base model")
        with open_measurer(backend, settings, observer.phase) as measurer:
            inputs = probe_inputs(found, settings, plan.probe, measurer, progress_to(observer))
            proxies = probe_proxies(smaller, inputs, settings, plan.probe, measurer)
        info = begin_run(settings, folder, inputs, space, learned.files, job.history, proxies)
        observer.notify(observers.RunStarted(info))
        if text := plan_proxies(folder, [*proxies, inputs]):
            observer.message(text)
        for warning in info.dataset.warnings:
            observer.message(warning)
        version_run_inputs(folder, learned.files, learned.features)
        document_history(learned.files, folder)
        observer.phase("training the offline models")
        offline = training.models(None if learned.used else offline_wait_seconds(job.ledger))
    if learned.used is None:
        record_history_use(folder, offline is not None)
    if offline is None and learned.files:
        observer.message(
            "the offline models are not trained in time for this budget: the search starts "
            "without past runs"
            if learned.used is None
            else "the search resumes without past runs, as it began"
        )
    past = past_on_proxies(files if offline is not None else [], proxies, space)
    if text := past_text(past):
        observer.message(text)
    return _Ready(plan, inputs, proxies, past, info, offline, space)


def _search(job: Job, backend: ExecutionBackend, ready: _Ready) -> SearchLoop:
    """Runs trials until the budget is spent, the default configuration first."""
    settings, observer, ledger = job.settings, job.observer, job.ledger

    before = {trial.spec.trial_id: trial.result for trial in job.folder.trials() if trial.result}

    def on_result(spec: TrialSpec, result: TrialResult) -> None:
        replayed = before.get(spec.trial_id) == result
        observer.notify(observers.TrialFinished(spec, result, replayed))
        observer.notify(observers.BudgetSpent(ledger.share))

    budget = ready.info.search_budget
    search = Search(
        ready.space,
        dataset=ready.inputs.meta,
        budget=budget.amount if budget.unit == "full" else None,
        seed=settings.seed,
        strategy=settings.strategy,
        rungs=None if settings.early_stopping else (1.0,),
        price="flat" if budget.unit == "trials" else "share",
        stages=stages_of(
            ready.inputs.schedule,
            len(ready.inputs.dataset.splits["train"]),
            len(ready.inputs.dataset.preferences),
        ),
        finalist_share=0.0,  # the ledger keeps the finalists' share, in the budget's own unit
        offline=ready.offline,
        past=ready.past,
        **search_levels([*ready.proxies, ready.inputs]),
    )
    loop = SearchLoop(
        job.folder,
        settings,
        ready.inputs,
        search,
        ledger,
        backend.submit,
        on_result,
        lambda checkpoints: observer.notify(observers.CheckpointsRemoved(checkpoints)),
        ready.plan.pace,
        proxies=ready.proxies,
    )
    try:
        observer.phase("searching")
        if before:
            observer.message(finished_before(len(before), settings.budget))
        observer.notify(observers.BudgetSpent(ledger.share))
        loop.explore(plain_values(ready.space.get_default_configuration()))
        observer.phase("running the last trials in full")
        loop.finish()
    finally:
        ledger.save()
    return loop


def _measure(job: Job, backend: ExecutionBackend, ready: _Ready, loop: SearchLoop) -> Summary:
    """Measures the winner, the default and the base model on the test split, once."""
    observer = job.observer
    observer.phase("measuring on the test split")
    with open_measurer(backend, job.settings, observer.phase) as measurer:
        seconds = job.ledger.left + ready.plan.test_seconds
        default = plain_values(ready.space.get_default_configuration())
        return conclude(job.folder, loop, default, measurer, seconds, progress_to(observer))
