"""One tune run from the command line: started or resumed, then its outcome for people."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server import prefect_server
from flows.terminal import console, say
from tasks.config.paths import runs_folder

if TYPE_CHECKING:
    from tasks.config.settings import TuneSettings
    from tasks.monitoring.observers import RunObserver
    from tasks.runs.folder import RunFolder, Summary


def run_tune(
    settings: TuneSettings | None,
    run: str | None,
    history: Path | None,
    observer: RunObserver,
    lasting: bool,
) -> None:
    """Runs or resumes one run, then shows its outcome to people."""
    observer.phase("starting Prefect")
    from flows.progress import LiveProgress
    from flows.resumable import resumable
    from tasks.config.started import counted_from_start
    from tasks.runs.folder import RunFolder

    load = partial(import_module, "flows.tune")  # takes seconds, as the server's start does
    with counted_from_start(), prefect_server(lasting, load), resumable(observer):
        run_id = load().tune(settings, run, history)
    if isinstance(observer, LiveProgress):
        observer.stop()
        folder = RunFolder.open(run_id, runs_folder())
        show_outcome(folder, folder.summary())
        say(f"report:   {folder.path / 'report.html'}")
        say(f"exported: {folder.path / 'best'}")


def show_outcome(run: RunFolder, summary: Summary | None) -> None:
    """The table of trials and, when there is one, the comparison."""
    from tasks.monitoring.console import render_summary, render_trials

    console.print(render_trials(run, console.width))
    if summary is not None:
        console.print(render_summary(run, console.width))
