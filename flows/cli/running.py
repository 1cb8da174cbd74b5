"""A tune run from the command line: begun or resumed, then its outcome for people."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server.prefect import prefect_server
from flows.terminal.console import console, say
from flows.terminal.interrupts import interrupts
from tasks.config.paths import runs_folder

if TYPE_CHECKING:
    from tasks.config.settings import Budget, TuneSettings
    from tasks.monitoring.observers import RunObserver
    from tasks.runs.folder import RunFolder, Summary


def run_tune(
    settings: TuneSettings, run: str | None, history: Path | None, observer: RunObserver
) -> None:
    """Runs or resumes one run, then shows its outcome to people."""
    observer.phase("starting Prefect")
    from flows.terminal.progress import LiveProgress
    from flows.terminal.resumable import resumable
    from tasks.config.started import counted_from_start
    from tasks.execution.base import WORKERS
    from tasks.runs.folder import RunFolder

    load = partial(import_module, "flows.tune")  # takes seconds, as the server's start does
    lasting = settings.trials_on == WORKERS
    with counted_from_start(), prefect_server(lasting, load), resumable(observer):
        run_id = load().tune(settings, run, history)
    if isinstance(observer, LiveProgress):
        observer.stop()
        folder = RunFolder.open(run_id, runs_folder())
        show_outcome(folder, folder.summary())
        say(f"report:   {folder.path / 'report.html'}")
        say(f"exported: {folder.path / 'best'}")


def resumable_run(
    name: str, budget: Budget | None, history: Path | None, observer: RunObserver
) -> tuple[RunFolder, TuneSettings] | None:
    """The run to resume and its settings, with that budget if one is given.

    None where it is finished, which the observer is told then.

    Raises:
        SettingsError: there is no such run, or it cannot go on with that budget.
    """
    from tasks.monitoring.observers import RunFinished
    from tasks.runs.spending import finished_notice
    from tasks.search.naming import with_budget
    from tasks.search.run_storage import open_run

    run = open_run(name, runs_folder())
    interrupts.notes = [f"resume with: autopipe tune --resume {run.run_id}"]
    interrupts.kept = any(run.path.glob("trials/*/result.json"))
    settings = run.info().settings
    if budget is not None and budget != settings.budget:
        settings = with_budget(run, budget)
    message = finished_notice(run, settings.budget, history)
    if message is None:
        return run, settings
    observer.message(message)
    if (summary := run.summary()) is not None:
        observer.notify(RunFinished(summary))
    return None


def show_outcome(run: RunFolder, summary: Summary | None) -> None:
    """Prints the table of trials and, when there is one, the comparison."""
    from tasks.monitoring.console import render_summary, render_trials

    console.print(render_trials(run, console.width))
    if summary is not None:
        console.print(render_summary(run, console.width))
