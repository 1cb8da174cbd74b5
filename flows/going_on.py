"""``autopipe tune --resume``: what is looked at before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.interrupts import interrupts
from flows.running import run_tune
from tasks.config.paths import runs_folder
from tasks.config.settings import Budget, TuneSettings
from tasks.execution.base import WORKERS
from tasks.monitoring.observers import RunObserver
from tasks.runs.folder import RunFolder
from tasks.runs.spending import check_budget, finished_notice
from tasks.search.run_storage import open_run


def resume_run(
    name: str, budget: Budget | None, history: Path | None, observer: RunObserver
) -> None:
    """Goes on with a run, unless it is finished.

    Args:
        name: id, folder or URL of the run.
        budget: that is asked for; None keeps that of the run.
        history: that it is to join; None, the one that it began with.
        observer: who shows it.

    Raises:
        SettingsError: there is no such run, or it has spent that budget already.
    """
    if going := going_on(name, budget, history, observer):
        run_tune(going.changed, str(going.run.path), history, observer, going.lasting)


@dataclass(frozen=True)
class GoingOn:
    """A run that goes on.

    Attributes:
        changed: its settings with another budget; None where that stays as it is.
        lasting: its trials are run by workers, which need a server that lasts.
    """

    run: RunFolder
    changed: TuneSettings | None
    lasting: bool


def going_on(
    name: str, budget: Budget | None, history: Path | None, observer: RunObserver
) -> GoingOn | None:
    """The run to resume; None if it is finished, which the observer is told then."""
    run = open_run(name, runs_folder())
    interrupts.notes = [f"resume with: autopipe tune --resume {run.run_id}"]
    interrupts.kept = any(run.path.glob("trials/*/result.json"))
    settings, changed = run.info().settings, None
    if budget is not None and budget != settings.budget:
        check_budget(run, budget)
        changed = settings.model_copy(update={"budget": budget})
    told = finished_notice(run, (changed or settings).budget, history)
    if told is None:
        return GoingOn(run, changed, settings.trials_on == WORKERS)
    observer.message(told)
    if (summary := run.summary()) is not None:
        observer.ended(summary)
    return None
