"""Three sizes of one model replayed: is a search of the largest better for trials on the others?

    python -m benchmarks.levels run       # runs what has no result of the present code yet
    python -m benchmarks.levels show      # tables, and whether the goals are reached

A run has a budget in mean trials of the largest model, and pays in FLOPs what each trial took.
Regret is what the recommended configuration lacks on the largest model, in standard deviations of
all candidates there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every worker has one core, whatever libraries take

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from flows.server.environment import configure

configure()

import typer  # noqa: E402
from typer import Option  # noqa: E402

from benchmarks.options import selected, with_options  # noqa: E402
from flows.cli.errors import friendly_errors  # noqa: E402
from flows.terminal.console import for_tables, say  # noqa: E402
from tasks.output.csv_tables import write_csv  # noqa: E402
from trials.io.errors import SettingsError  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.levels.store import Job

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = for_tables()


@dataclass(frozen=True)
class Selection:
    """Options of both commands: which runs there are."""

    arms: Annotated[str, Option(help="Names, with commas between; all by default.")] = ""
    datasets: Annotated[str, Option(help="Names, with commas between; all by default.")] = ""
    budgets: Annotated[str, Option(help="In mean trials of the target.")] = "4,6,8"
    seeds: Annotated[int, Option(help="Runs of each arm on each dataset.", min=1)] = 10
    candidates: Annotated[int, Option(help="Drawn anew for each seed, of 40.", min=2)] = 28
    results: Annotated[Path | None, Option(help="Folder of the runs.")] = None

    @property
    def folder(self) -> Path:
        """Where the runs are kept."""
        from benchmarks.levels.store import RESULTS

        return self.results or RESULTS

    def jobs(self) -> list[Job]:
        """All seeds of every arm, dataset and budget."""
        from benchmarks.levels.arms import ARMS
        from benchmarks.levels.family import families
        from benchmarks.levels.store import Job
        from benchmarks.replay.store import history

        arms = selected(self.arms, ARMS, "arm")
        datasets = selected(self.datasets, families(history()), "dataset")
        budgets = [_budget(text) for text in self.budgets.split(",")]
        return [Job(a, d, b, self.candidates) for b in budgets for a in arms for d in datasets]


def _budget(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(
            f"--budgets: expected numbers with commas between, got {text!r}"
        ) from None


@app.command("run")
@with_options(Selection)
def run_command(
    selection: Selection, workers: Annotated[int, Option(help="Processes.", min=1)] = 2
) -> None:
    """Play what has no run yet; after an interruption it goes on after the last finished run."""
    with friendly_errors():
        from benchmarks.levels.run import run

        failed = run(selection.folder, selection.jobs(), range(selection.seeds), workers, console)
    for name, reason in failed.items():
        say(f"{name} failed: {reason}")
    say("tables: python -m benchmarks.levels show")
    if failed:
        raise typer.Exit(1)


@app.command()
@with_options(Selection)
def show(
    selection: Selection,
    csv: Annotated[Path | None, Option(help="Where the table goes as CSV.")] = None,
) -> None:
    """Regret of every arm, what its trials cost, and whether the goals are reached."""
    with friendly_errors():
        from benchmarks.levels.results import goals, load, remarks, summary, tables

        jobs, seeds = selection.jobs(), range(selection.seeds)
        runs = load(selection.folder, jobs, seeds)
        for line in remarks(runs, jobs, seeds):
            say(line)
        for table in tables(runs):
            console.print(table)
        for line in goals(runs):
            say(line)
        if csv is not None:
            write_csv(summary(runs), csv, "%.5g")
            say(f"table: {csv}")


if __name__ == "__main__":
    app()
