"""Commands for those who operate AutoPipe: deploy, ui, versions, doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from flows.cli.errors import friendly_errors
from flows.cli.options import AsJson
from flows.server.environment import configure
from flows.server.origins import in_url
from flows.server.prefect import (
    LOOPBACK,
    Served,
    note_served,
    prefect_server,
    refuse_taken,
    served_here,
    serving_command,
)
from flows.terminal.console import console, say, streams
from tasks.config.paths import workspace
from tasks.config.settings import EXAMPLE_MODEL
from tasks.output.escape import rich_markup
from tasks.output.report_url import DEFAULT_REPORTS_URL, REPORTS_URL_VARIABLE
from trials.io.imports import child_environment
from trials.io.redact import redacted
from trials.io.watchdog import SUPERVISOR_VARIABLE, supervisor_token

if TYPE_CHECKING:
    from tasks.operations.doctor import CheckResult

MARKS = {"good": "[green]✓[/green]", "note": "[yellow]![/yellow]", "bad": "[red]✗[/red]"}


def deploy(
    pool: Annotated[str, Option(help="Type of work pools: process, docker, kubernetes.")] = (
        "process"
    ),
    root: Annotated[
        Path | None, Option(help="Path of the checkout on the workers; default: as here.")
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
        say("  (as --limit of the second give the number of the machine's GPUs)")
        for note in notes:
            say(note)


def ui(
    port: Annotated[int, Option(help="Port of pages and API; reports get the next one.")] = 4200,
    host: Annotated[
        str, Option(help="Address to listen on; by default only this machine can connect.")
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
        f"workspace: {workspace()} (for another one set AUTOPIPE_HOME)",
        "in other terminals, before workers and commands of other workspaces:",
        f"  export PREFECT_API_URL={api}",
    ]
    if reports != DEFAULT_REPORTS_URL:
        lines.append(f"  export {REPORTS_URL_VARIABLE}={reports}")
    for line in lines:
        say(line)
    note_served(Served.here(api, reports))
    subprocess.Popen(  # the server of reports, which ends with this process whatever this becomes
        [sys.executable, "-m", "flows.server.reports", str(port + 1), host],
        env=child_environment({SUPERVISOR_VARIABLE: supervisor_token()}),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.execve(sys.executable, serving_command(port, host), child_environment())


def versions(
    remote: Annotated[str | None, Option(help="Push to this URL from now on.")] = None,
) -> None:
    """Show or set where what runs read and wrote is pushed to (any DVC remote)."""
    with friendly_errors():
        configure()
        from tasks.versioning.store import version_store

        if remote is not None:
            version_store().set_remote(remote)
        found = version_store()
        say(f"kept in {found.folder}")
        remote = redacted(found.remote) if found.remote else "nowhere: no remote is set"
        say(f"pushed to {remote}")


def doctor(
    dataset: Annotated[str, Option(help="Dataset to load.")] = "gcd",
    model: Annotated[str, Option(help="Model to load, without weights.")] = EXAMPLE_MODEL,
    dry_run: Annotated[
        bool, Option(help="Also run two trials of the smallest model from start to end.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check everything that a run needs, and say how to fix what is missing."""
    with friendly_errors(as_json):
        configure()
        if served := served_here():
            os.environ.setdefault("PREFECT_API_URL", served.api)
        from flows.terminal.json_lines import write_event
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
