"""Commands that show what there is: report, compare, datasets."""

from __future__ import annotations

from typing import Annotated

from rich.table import Table
from typer import Argument

from flows.cli.errors import friendly_errors
from flows.cli.options import Run
from flows.cli.running import show_outcome
from flows.server.environment import configure
from flows.terminal.console import console, say
from tasks.config.paths import runs_folder
from tasks.output.escape import rich_markup


def report(run: Run) -> None:
    """Write a run's report.html again and show its outcome; works for unfinished runs too."""
    with friendly_errors():
        configure()
        from tasks.report.build import write_report
        from tasks.search.run_storage import view_run

        folder = view_run(run, runs_folder())
        path = write_report(folder)
        show_outcome(folder, folder.summary())
        say(f"report: {path}")


def compare(
    run: Run,
    one: Annotated[str, Argument(help="Id of a trial, or how it begins: 003.")],
    other: Annotated[str, Argument(help="Id of the trial to compare it with.")],
) -> None:
    """Compare two trials of a run on the same validation rows."""
    with friendly_errors():
        configure()
        from tasks.runs.formatting import p_text
        from tasks.runs.paired import compare_trials
        from tasks.search.run_storage import view_run

        found = compare_trials(view_run(run, runs_folder()), one, other)
        console.print(
            f"{one} minus {other}: {found.mean:+.3f} ± {found.se:.3f} on the same {found.rows} "
            f"validation rows (paired, two-sided {p_text(found.p_value)})",
            highlight=False,
        )


def datasets() -> None:
    """List the datasets that can be named on the command line."""
    with friendly_errors():
        from tasks.inputs.catalog import load_catalog

        table = Table("name", "rows", "answer", "reward", "description", box=None)
        for key, entry in load_catalog().datasets.items():
            cells = key, entry.sizes.train, entry.answer_form, entry.reward, entry.description
            table.add_row(*map(rich_markup, cells))
        console.print(table)
