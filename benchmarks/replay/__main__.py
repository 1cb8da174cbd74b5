"""The bundled history replayed, one dataset left out at a time.

    python -m benchmarks.replay run       # or: make bench; runs what has no result yet
    python -m benchmarks.replay show      # tables, a picture, and whether the goals are reached

Every strategy chooses among the trials that one dataset really had, with the same budget, and pays
what each of them really cost.
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

if TYPE_CHECKING:
    from benchmarks.replay.run import Plan
    from benchmarks.replay.store import Settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = for_tables()


@dataclass(frozen=True)
class Selection:
    """Options of both commands: which runs there are."""

    strategies: Annotated[str, Option(help="Names, with commas between; all by default.")] = ""
    datasets: Annotated[str, Option(help="Names, with commas between; all by default.")] = ""
    variants: Annotated[str, Option(help="true, shuffled, inverted; all by default.")] = ""
    seeds: Annotated[int, Option(help="Runs of each strategy on each dataset.", min=1)] = 10
    budget: Annotated[float, Option(help="In mean costs of a trial at full length.", min=1)] = 20.0
    model: Annotated[str, Option(help="Whose trials are replayed.")] = "tiny-1m"
    space: Annotated[str, Option(help="Name in data/spaces, or a file.")] = "sft_grpo"
    results: Annotated[Path | None, Option(help="Folder of the runs.")] = None

    def prepared(self) -> tuple[Settings, Plan]:
        """Settings and plan; the strategies that cannot be run are named on the console."""
        from benchmarks.replay import store
        from benchmarks.replay.histories import VARIANTS
        from benchmarks.replay.run import Plan
        from benchmarks.replay.strategies import STRATEGIES
        from benchmarks.replay.tables import datasets_of

        results = self.results or store.RESULTS
        settings = store.Settings(self.model, self.space, self.budget, results)
        plan = Plan.of(
            selected(self.strategies, STRATEGIES, "strategy"),
            selected(self.variants, VARIANTS, "history"),
            selected(self.datasets, datasets_of(store.history(), self.model), "dataset"),
            self.seeds,
        )
        for name in plan.left_out:
            say(f"{name} left out: not installed (pip install 'autopipe[peers]')")
        return settings, plan


@app.command("run")
@with_options(Selection)
def run_command(
    selection: Selection,
    workers: Annotated[int, Option(help="Processes.", min=1)] = 2,
    again: Annotated[bool, Option(help="Repeat finished runs.")] = False,
) -> None:
    """Run what has no result yet; after an interruption it resumes after the last finished run."""
    with friendly_errors():
        from benchmarks.replay.run import run

        failed = run(*selection.prepared(), workers, console, again)
    for name, reason in failed.items():
        say(f"{name} failed: {reason}")
    say("tables and goals: python -m benchmarks.replay show")
    if failed:
        raise typer.Exit(1)


@app.command()
@with_options(Selection)
def show(
    selection: Selection,
    csv: Annotated[Path | None, Option(help="Where the table goes as CSV.")] = None,
    picture: Annotated[Path | None, Option(help="Where the picture goes (.svg).")] = None,
) -> None:
    """Regret over the budget as a table, a CSV and a picture, and the goals in words."""
    with friendly_errors():
        from benchmarks.replay.goals import goals
        from benchmarks.replay.picture import draw
        from benchmarks.replay.results import console_table, load_results, summarise

        settings, plan = selection.prepared()
        results = load_results(settings, plan)
        rows = summarise(results)
        for line in results.remarks:
            say(line)
        console.print(console_table(rows))
        for line in goals(results):
            say(line)
        if csv is not None:
            write_csv(rows, csv, "%.5g")
            say(f"table: {csv}")
        for line in draw(results, settings.results / "regret.html", picture):
            say(line)


if __name__ == "__main__":
    app()
