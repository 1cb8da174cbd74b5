"""Commands for those who run AutoPipe every week: deploy, ui, promote, recurring, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.environment import configure
from flows.errors import friendly_errors
from flows.interrupts import interrupts, this_command
from flows.options import EXAMPLE_MODEL, parsed_budget, settled
from flows.origins import in_url
from flows.server import (
    LOOPBACK,
    Served,
    note_served,
    prefect_server,
    refuse_taken,
    served_here,
    serving_command,
)
from flows.setting_options import (
    Steps,
)
from flows.terminal import console, say, streams
from tasks.config.paths import workspace
from tasks.output.escape import rich_markup
from tasks.output.report_url import DEFAULT_REPORTS_URL, REPORTS_URL_VARIABLE
from trials.io.imports import child_environment
from trials.io.redact import redacted
from trials.io.watchdog import SUPERVISOR_VARIABLE, supervisor_token

if TYPE_CHECKING:
    from tasks.operations.doctor import CheckResult

Run = Annotated[str, typer.Argument(help="Id or folder of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for programs.")]
MARKS = {"good": "[green]✓[/green]", "note": "[yellow]![/yellow]", "bad": "[red]✗[/red]"}


def deploy(
    pool: Annotated[str, typer.Option(help="Type of pools: process, docker, kubernetes.")] = (
        "process"
    ),
    root: Annotated[
        Path | None, typer.Option(help="The checkout as workers see it; default: as here.")
    ] = None,
) -> None:
    """Make AutoPipe's work pools and deployments on the Prefect server of PREFECT_API_URL."""
    with friendly_errors():
        configure()
        from tasks.operations.deploy import POOLS
        from tasks.operations.deploy import deploy as make

        with prefect_server(lasting=True), console.status("deploying"):
            notes = make(pool, root)
        say("deployed: tune, trial, collect, offline, promote, recurring")
        say("start a worker for each pool, on as many machines as you like:")
        for name in POOLS:
            say(f"  prefect worker start --pool {name} --limit 1")
        say("  (--limit of the second: as many trials as the machine has GPUs)")
        for note in notes:
            say(note)


def ui(
    port: Annotated[int, typer.Option(help="Of the pages and the API.")] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is for this machine alone.")
    ] = LOOPBACK,
) -> None:
    """Serve Prefect's pages, its API and the reports of this workspace, until Ctrl-C."""
    with friendly_errors():
        configure()
        refuse_taken(host, port, port + 1)
    # The pages call the address that the server has in its own environment.
    name = in_url(host)
    api = os.environ["PREFECT_API_URL"] = f"http://{name}:{port}/api"
    os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "WARNING"
    os.environ.pop(SUPERVISOR_VARIABLE, None)  # it outlives whoever started it
    reports = f"http://{name}:{port + 1}"
    lines = [
        f"pages:     http://{name}:{port}",
        f"reports:   {reports}",
        f"workspace: {workspace()} (AUTOPIPE_HOME names another one)",
        "in other terminals, before workers and commands of other workspaces:",
        f"  export PREFECT_API_URL={api}",
    ]
    if reports != DEFAULT_REPORTS_URL:
        lines.append(f"  export {REPORTS_URL_VARIABLE}={reports}")
    for line in lines:
        say(line)
    note_served(Served(api, reports))
    serve_reports(host, port + 1)
    os.execve(sys.executable, serving_command(port, host), child_environment())


def serve_reports(host: str, port: int) -> None:
    """Starts the server of reports, which ends with this process whatever this becomes."""
    subprocess.Popen(
        [sys.executable, "-m", "flows.reports", str(port), host],
        env=child_environment({SUPERVISOR_VARIABLE: supervisor_token()}),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def promote(
    run: Run, rows: Annotated[int, typer.Option(help="Validation rows, at most.")] = 1000
) -> None:
    """Promote a run's winner if it beats the incumbent on the same rows by more than noise."""
    with friendly_errors():
        configure()
        from flows.promote import promote as promote_flow

        with prefect_server():
            decision = promote_flow(run, rows)
        say(str(decision))


def recurring(
    dataset: Annotated[str, typer.Argument(help="Catalog name, folder or file.")],
    model: Annotated[str, typer.Option(help="Catalog name, folder or hub id.")] = EXAMPLE_MODEL,
    budget: Annotated[str | None, typer.Option(help="As of `autopipe tune`.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Trials at a time; default: as GPUs allow, else 2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="As of `autopipe tune`.")] = None,
    steps: Steps = None,
    trials_on: Annotated[str | None, typer.Option(help="As of `autopipe tune`.")] = None,
    store: Annotated[str | None, typer.Option(help="As of `autopipe tune`.")] = None,
    history: Annotated[Path | None, typer.Option(help="Folder of parquet files.")] = None,
    notify: Annotated[
        str | None, typer.Option(help='Notification block, as "slack-webhook/team".')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune again if anything changed, promote what is better, learn, keep versions.

    The form of the deployment has all settings of a run.
    """
    with friendly_errors(as_json):
        configure()
        from flows.json_lines import JsonLines, write_event
        from flows.options import given
        from flows.progress import LiveProgress
        from flows.recurring import recurring as recurring_flow
        from flows.resumable import resumable
        from tasks.config.settings import TuneSettings
        from tasks.execution.base import WORKERS
        from tasks.execution.devices import default_parallel
        from tasks.inputs.catalog import load_catalog

        catalog = load_catalog()
        settings = TuneSettings(
            dataset=settled(dataset, catalog.datasets),
            model=settled(model, catalog.models),
            parallel=default_parallel() if parallel is None else parallel,
            schedule=given(total_steps=steps),
            **given(budget=parsed_budget(budget), seed=seed, trials_on=trials_on, store=store),
        )
        interrupts.notes = [f"no trial had begun; again with: {this_command()}"]
        with ExitStack() as shown:
            observer = JsonLines() if as_json else shown.enter_context(LiveProgress(console))
            shown.enter_context(prefect_server(settings.trials_on == WORKERS))
            shown.enter_context(resumable(observer))
            state = recurring_flow(settings, history, notify=notify, return_state=True)
        state.result()
        if as_json:
            write_event("outcome", message=state.message)
        else:
            say(state.message)


def versions(
    remote: Annotated[str | None, typer.Option(help="Push to this URL from now on.")] = None,
) -> None:
    """Show or set where what runs read and wrote is pushed to (any DVC remote)."""
    with friendly_errors():
        configure()
        from tasks.versioning.store import version_store

        if remote is not None:
            version_store().set_remote(remote)
        found = version_store()
        say(f"kept in {found.folder}")
        remote = redacted(found.remote) if found.remote else "nowhere: no remote is named"
        say(f"pushed to {remote}")


def doctor(
    dataset: Annotated[str, typer.Option(help="To load.")] = "gcd",
    model: Annotated[str, typer.Option(help="To load, but for its weights.")] = EXAMPLE_MODEL,
    dry_run: Annotated[
        bool, typer.Option(help="Also run two trials of the smallest model, the whole way.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check everything that a run needs, and say how to fix what is missing."""
    with friendly_errors(as_json):
        configure()
        if served := served_here():
            os.environ.setdefault("PREFECT_API_URL", served.api)
        from flows.json_lines import write_event
        from tasks.operations.doctor import checks, run_check

        bad = 0
        for name, check in checks(dataset, model, dry_run).items():
            with streams(as_json).status(f"checking: {name}"):
                results = run_check(name, check)
            for result in results:
                bad += result.status == "bad"
                if as_json:
                    write_event(
                        "finding",
                        what=result.name,
                        status=result.status,
                        found=result.message,
                        mend=result.fix,
                    )
                else:
                    show(result)
        if as_json:
            write_event("ended", bad=bad)
    raise typer.Exit(1 if bad else 0)


def show(result: CheckResult) -> None:
    """Prints one line, and how to fix what is wrong."""
    line = (
        f"{MARKS[result.status]} [bold]{rich_markup(result.name)}[/bold]: {_safe(result.message)}"
    )
    console.print(line, highlight=False)
    if result.fix:
        console.print(f"    {_safe(result.fix)}", highlight=False, style="dim")


def _safe(text: str) -> str:
    return rich_markup(redacted(text), lines=True)


def register(app: typer.Typer) -> None:
    """Adds these commands to the ``autopipe`` command."""
    for command in (deploy, ui, promote, recurring, versions, doctor):
        app.command()(command)
