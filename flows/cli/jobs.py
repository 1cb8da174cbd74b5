"""Commands that run a job: tune, collect, recurring, promote, reproduce."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from flows.cli.errors import friendly_errors
from flows.cli.options import (
    AsJson,
    History,
    Run,
    parsed_budget,
    refuse_beside_resume,
    setting_options,
    tune_settings,
)
from flows.cli.running import resumable_run, run_tune
from flows.server.environment import configure
from flows.server.prefect import prefect_server
from flows.terminal.console import console, say
from flows.terminal.interrupts import interrupts, this_command
from tasks.config.settings import DATASET, CollectSettings, TuneSettings
from tasks.output.escape import rich_markup

if TYPE_CHECKING:
    from flows.terminal.progress import CollectProgress, LiveProgress
    from tasks.monitoring.observers import RunObserver


@setting_options(TuneSettings)
def tune(
    context: typer.Context,
    *,
    dataset: Annotated[
        str | None, Argument(help=DATASET, show_default="the example of the catalog")
    ] = None,
    given: dict[str, Any],
    history: History = None,
    resume: Annotated[str | None, Option(help="Id, folder or URL of a run to resume.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the best configuration for a dataset and a model under a budget."""
    with friendly_errors(as_json), display(as_json) as observer:
        observer.phase("checking the settings, the dataset and the model")
        interrupts.notes = [f"no trial has begun; start again with: {this_command()}"]
        configure()
        from tasks.config.started import check_time

        budget = parsed_budget(given.get("budget"))
        # Before the imports below, which take seconds; of a resumed run little is known by then.
        check_time(budget, in_trials=resume is None and not given.get("proxies"))
        from tasks.planning.preflight import check_settings

        if resume is not None:
            refuse_beside_resume(context)
            if found := resumable_run(resume, budget, history, observer):
                run, settings = found
                run_tune(settings, str(run.path), history, observer)
            return
        settings = tune_settings(dataset, given)
        check_settings(settings)
        run_tune(settings, None, history, observer)


@setting_options(TuneSettings)
def recurring(
    dataset: Annotated[str, Argument(help=DATASET)],
    given: dict[str, Any],
    history: History = None,
    notify: Annotated[
        str | None, Option(help="Notification block, such as slack-webhook/team.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune again if anything changed, promote what is better, learn, keep versions."""
    with friendly_errors(as_json):
        configure()
        from flows.recurring import recurring as flow
        from flows.terminal.json_lines import write_event
        from flows.terminal.resumable import resumable
        from tasks.execution.base import WORKERS

        settings = tune_settings(dataset, given)
        interrupts.notes = [f"no trial has begun; start again with: {this_command()}"]
        lasting = settings.trials_on == WORKERS
        with display(as_json) as observer, prefect_server(lasting), resumable(observer):
            state = flow(settings, history, notify=notify, return_state=True)
        state.result()
        if as_json:
            write_event("outcome", message=state.message)
        else:
            say(state.message)


@setting_options(CollectSettings)
def collect(
    given: dict[str, Any],
    datasets: Annotated[
        list[str] | None,
        Argument(help=DATASET, show_default="all of the catalog but the example"),
    ] = None,
    name: Annotated[
        str, Option(help="Name of the run; a run of that name is resumed.")
    ] = "collect",
    history: History = None,
    as_json: AsJson = False,
) -> None:
    """Run a space-filling design of full-length trials and add them to the history."""
    with friendly_errors(as_json):
        interrupts.notes = [f"resume with: {this_command()}"]
        configure()
        from flows.collect import collect as flow
        from flows.terminal.json_lines import write_event
        from flows.terminal.progress import CollectProgress
        from flows.terminal.resumable import resumable
        from tasks.execution.devices import default_parallel
        from tasks.inputs.catalog import load_catalog

        catalog = load_catalog()
        chosen = datasets or [key for key, entry in catalog.datasets.items() if not entry.example]
        given.setdefault("parallel", default_parallel())
        settings = CollectSettings(datasets=chosen, **given)
        trials = len(chosen) * settings.configurations
        shown = CollectProgress(console, trials)
        with display(as_json, shown) as observer, prefect_server(), resumable(observer):
            files = flow(settings, name, history)
        if as_json:
            write_event("ended", files=[str(file) for file in files])
        else:
            for file in files:
                say(f"wrote {file}")


def promote(
    run: Run, rows: Annotated[int, Option(help="Validation rows, at most.")] = 1000
) -> None:
    """Promote a run's winner if it beats the incumbent on the same rows by more than noise."""
    with friendly_errors():
        configure()
        from flows.promote import promote as flow

        with prefect_server():
            decision = flow(run, rows)
        say(str(decision))


def reproduce(run: Run) -> None:
    """Run a search again on the data that it read, and say whether it went the same way."""
    with friendly_errors():
        configure()
        from flows.reproduce import reproduce as flow
        from tasks.monitoring.observers import observed_by

        with display() as progress, prefect_server(), observed_by(progress):
            found = flow(run)
        for difference in found.differences:
            console.print(f"[yellow]{rich_markup(difference)}[/yellow]", highlight=False)
        verdict = "the same" if found.same else "not the same"
        console.print(
            f"{verdict}: {found.proposals} proposals and {found.scores} scores compared",
            highlight=False,
        )
        raise typer.Exit(0 if found.same else 1)


@contextmanager
def display(
    as_json: bool = False, progress: LiveProgress | CollectProgress | None = None
) -> Iterator[RunObserver]:
    """Shows a run while it goes on: as JSON lines for programs, else in the terminal."""
    if as_json:
        from flows.terminal.json_lines import JsonLines

        yield JsonLines()
        return
    from flows.terminal.progress import LiveProgress

    with progress or LiveProgress(console) as shown:
        yield shown
