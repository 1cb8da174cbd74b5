"""The ``autopipe`` command. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import sys

import typer

from flows.cli import history, jobs, operations, results
from flows.terminal.interrupts import INTERRUPTED, interrupts
from flows.terminal.output import told_of_lost_output

app = typer.Typer(
    help="Configures LLM post-training (SFT, then RL) under a compute budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (jobs.tune, results.report, results.compare, jobs.reproduce, jobs.promote):
    app.command()(command)
for command in (jobs.recurring, jobs.collect, results.datasets):
    app.command()(command)
app.add_typer(history.app, name="history")
for command in (operations.doctor, operations.versions, operations.ui, operations.deploy):
    app.command()(command)


def main() -> None:
    """The command, as it is installed."""
    interrupts.listen()
    try:
        with told_of_lost_output():
            app()
    except SystemExit as end:  # before a command had begun, typer's own exit code is another
        sys.exit(INTERRUPTED if interrupts.came else end.code)
