"""Tune: find the best configuration of SFT -> RL for one dataset and model, under a budget.

autopipe tune chain_sum --model tiny-1m --budget 12 --parallel 2 --seed 0
autopipe tune --resume RUN
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from surrogates.search import Search
from tasks.begin import Begun, begin_run
from tasks.conclude import conclude
from tasks.export import export_best
from tasks.history import history_files
from tasks.ledger import Ledger
from tasks.lock import run_lock
from tasks.offline import offline_models
from tasks.places.choose import check_place, place_of
from tasks.places.gpus import measuring, trial_launchers
from tasks.prepare import prepare_inputs
from tasks.provenance import keep_inputs, keep_learned, keep_winner
from tasks.remember import append_run_to_history
from tasks.report import write_report
from tasks.run_names import folder_of_run, history_of, settings_of, title_of
from tasks.search_loop import SearchLoop
from tasks.settings import TuneSettings
from tasks.spaces import load_space
from tasks.stored_run import stored
from tasks.validate import document_history, validate_dataset
from tasks.watch import watching
from trials.events import Event
from trials.records import TrialResult, TrialSpec


@flow(name="tune", flow_run_name=title_of)
def tune(
    settings: TuneSettings | None = None, run: str | None = None, history: Path | None = None
) -> str:
    """Find the best configuration of SFT -> RL for one dataset and model, under a budget.

    Args:
        settings: What to tune, with what budget, and how trials are run. Of a run that goes on
            only the budget counts; empty keeps that, too.
        run: Id, folder or URL of a run to go on with; empty begins a new one.
        history: Folder of parquet files to learn from and to append to; empty: the project's, or
            that of the run which goes on.

    Returns:
        The id of the run.

    Raises:
        SettingsError: neither settings nor a run are given, or something in them cannot work.
    """
    folder = folder_of_run(settings, run)
    with (
        run_lock(folder.path),
        stored(folder, settings := settings_of(folder, settings)) as storage,
        watching(folder, storage) as watcher,
        trial_launchers(settings, watcher.phase) as launchers,
    ):
        history = history_of(folder, history)
        check_place(settings)
        ledger = Ledger(folder.path / "ledger.json", settings.budget, settings.finalist_share)
        space = load_space(settings.space)

        watcher.phase("checking the dataset and probing the base model")
        with measuring(settings.threads, watcher.phase, launchers) as launcher:
            inputs = prepare_inputs(
                settings.dataset,
                settings.model,
                settings.schedule,
                launcher,
                settings.allow_user_code,
                settings.compute,
            )
        validate_dataset(inputs, folder)

        begun: Begun = begin_run(settings, folder, inputs, space, history)
        watcher.begun(begun.info)
        for warning in begun.info.dataset.warnings:
            watcher.message(warning)
        keep_inputs(folder, begun.history_files, begun.features)
        watcher.phase("training the offline models on the history")
        document_history(begun.history_files, folder)
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

        def on_result(spec: TrialSpec, result: TrialResult) -> None:
            watcher.result(spec, result)
            watcher.spent(ledger.share)

        # Whatever ends the loop, no training process outlives the place.
        with place_of(settings, folder, launchers, on_event) as place:
            loop = SearchLoop(
                folder, settings, inputs, search, ledger, place.submit, on_result, watcher.removed
            )
            try:
                watcher.phase("searching")
                watcher.spent(ledger.share)
                loop.explore(begun.default_config)
                watcher.phase("running the finalists at full length")
                loop.finish()
            finally:
                ledger.save()

        # First: trials are kept even when none can be recommended.
        append_run_to_history(folder, history)
        keep_learned(folder, history_files(history), offline)
        watcher.phase("measuring on the test split")
        with measuring(settings.threads, watcher.phase, launchers) as launcher:
            summary = conclude(folder, loop, begun.default_config, launcher)
        export_best(folder)
        write_report(folder)
        watcher.phase("done")
        watcher.ended(summary)
        keep_winner(folder)
    return folder.run_id
