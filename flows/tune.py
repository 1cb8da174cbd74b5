"""Tune: find the best configuration of SFT -> RL for one dataset and model, under a budget.

autopipe tune chain_sum --model tiny-1m --budget 12 --parallel 2 --seed 0
autopipe tune --resume RUN
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from surrogates.search import Search
from tasks.begin import Begun, begin_run
from tasks.conclude import conclude
from tasks.devices import launchers_for
from tasks.export import export_best
from tasks.ledger import Ledger
from tasks.offline import offline_models
from tasks.prepare import prepare_inputs
from tasks.remember import append_run_to_history
from tasks.report import write_report
from tasks.run_folder import RunFolder, Summary
from tasks.search_loop import SearchLoop
from tasks.settings import TuneSettings
from tasks.spaces import load_space
from tasks.validate import document_history, validate_dataset
from tasks.watch import Watcher
from trials.events import Event
from trials.records import TrialSpec
from trials.supervisor import Supervisor


def tune(
    settings: TuneSettings, run: RunFolder, history: Path, watcher: Watcher | None = None
) -> Summary:
    """Runs the tune flow with as many workers as ``settings.parallel``.

    Args:
        settings: checked settings of the run.
        run: a new folder, or that of a run to resume.
        history: folder of parquet files to learn from and to append to.
        watcher: is shown what happens; None runs silently.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.parallel)
    name = f"{run.run_id} ({settings.budget})"
    flow_of_run = tune_flow.with_options(task_runner=runner, flow_run_name=name)
    return flow_of_run(settings, run, history, watcher or Watcher())


@flow(name="tune", validate_parameters=False)
def tune_flow(settings: TuneSettings, run: RunFolder, history: Path, watcher: Watcher) -> Summary:
    """Validate, learn from the history, search, finish the best, measure, report, remember."""
    ledger = Ledger(run.path / "ledger.json", settings.budget, settings.finalist_share)
    launchers = launchers_for(
        settings.parallel, settings.threads, settings.accelerate_config, settings.gpus_per_trial
    )
    launcher = launchers[0]
    space = load_space(settings.space)

    watcher.phase("checking the dataset and probing the base model")
    inputs = prepare_inputs(
        settings.dataset,
        settings.model,
        settings.schedule,
        launcher,
        settings.allow_user_code,
        settings.compute,
    )
    validate_dataset(inputs, run)

    begun: Begun = begin_run(settings, run, inputs, space, history)
    watcher.begun(begun.info)
    watcher.phase("training the offline models on the history")
    document_history(begun.history_files, run)
    offline = offline_models(begun.history_files, space, None, features=begun.features)

    search = Search(
        space,
        dataset=inputs.meta,
        budget=settings.budget.amount if settings.budget.unit == "full" else None,
        seed=settings.seed,
        strategy=settings.strategy,
        rungs=None if settings.early_stopping else (1.0,),
        finalist_share=0.0,  # the ledger keeps the finalists' share, in the budget's own unit
        offline=offline,
    )
    ledger.closing_seconds = begun.closing_seconds

    def on_event(spec: TrialSpec, event: Event) -> None:
        ledger.tick()
        watcher.event(spec, event)

    # Whatever ends the loop, no training process outlives the supervisor.
    with Supervisor(
        launchers, on_event, trials_per_worker=settings.trials_per_worker
    ) as supervisor:
        loop = SearchLoop(run, settings, inputs, search, ledger, supervisor, watcher.result)
        try:
            watcher.phase("searching")
            loop.explore(begun.default_config)
            watcher.phase("running the finalists at full length")
            loop.finish()
        finally:
            ledger.save()

    append_run_to_history(run, history)  # first: trials are kept even when none can be recommended
    watcher.phase("measuring on the test split")
    summary = conclude(run, loop, begun.default_config, launcher)
    export_best(run)
    write_report(run)
    watcher.phase("done")
    return summary
