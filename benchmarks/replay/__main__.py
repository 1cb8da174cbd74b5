"""The bundled history replayed, one dataset left out at a time.

    python -m benchmarks.replay run       # or: make bench; plays what was not played yet
    python -m benchmarks.replay show      # tables, a picture, and whether the goals are reached

Every strategy chooses among the trials that one dataset really had, with the same budget, and pays
what each of them really cost.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every worker has one core, whatever libraries take

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from flows.environment import configure

configure()

import typer  # noqa: E402

from flows.errors import friendly_errors  # noqa: E402
from flows.terminal import for_tables  # noqa: E402
from tasks.output.csv_tables import write_csv  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.replay.run import Plan
    from benchmarks.replay.store import Settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = for_tables()

Strategies = Annotated[str, typer.Option(help="Names, with commas between; all by default.")]
Datasets = Annotated[str, typer.Option(help="Names, with commas between; all by default.")]
Variants = Annotated[str, typer.Option(help="true, shuffled, inverted; all by default.")]
Seeds = Annotated[int, typer.Option(help="Runs of each strategy on each dataset.", min=1)]
Budget = Annotated[float, typer.Option(help="In mean costs of a trial at full length.", min=1)]
Model = Annotated[str, typer.Option(help="Whose trials are replayed.")]
Space = Annotated[str, typer.Option(help="Name in data/spaces, or a file.")]
Results = Annotated[Path | None, typer.Option(help="Folder of the runs that were played.")]


def _prepared(
    strategies: str, datasets: str, variants: str, seeds: int, budget: float, model: str,
    space: str, results: Path | None,
) -> tuple[Settings, Plan]:  # fmt: skip
    """Settings and plan of a command's options."""
    from benchmarks.replay import store
    from benchmarks.replay.past import VARIANTS
    from benchmarks.replay.run import PEERS_MISSING, plan_of
    from benchmarks.replay.strategies import STRATEGIES, chosen
    from benchmarks.replay.tables import datasets_of

    settings = store.Settings(model, space, budget, results or store.RESULTS)
    plan = plan_of(
        chosen(_names(strategies), STRATEGIES, "strategy"),
        chosen(_names(variants), VARIANTS, "history"),
        chosen(_names(datasets), datasets_of(store.history(), model), "dataset"),
        seeds,
    )
    for name in plan.left_out:
        console.print(f"{name} {PEERS_MISSING}", highlight=False, markup=False)
    return settings, plan


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command("run")
def run_command(
    strategies: Strategies = "",
    datasets: Datasets = "",
    variants: Variants = "",
    seeds: Seeds = 10,
    budget: Budget = 20.0,
    model: Model = "tiny-1m",
    space: Space = "sft_grpo",
    results: Results = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    again: Annotated[bool, typer.Option(help="Play what is there once more.")] = False,
) -> None:
    """Play what was not played yet; what is interrupted goes on from the last finished run."""
    with friendly_errors():
        from benchmarks.replay.run import run

        settings, plan = _prepared(
            strategies, datasets, variants, seeds, budget, model, space, results
        )
        failed = run(settings, plan, workers, console, again)
    for name, why in failed.items():
        console.print(f"{name} failed: {why}", highlight=False, markup=False)
    console.print("tables and goals: python -m benchmarks.replay show", highlight=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    strategies: Strategies = "",
    datasets: Datasets = "",
    variants: Variants = "",
    seeds: Seeds = 10,
    budget: Budget = 20.0,
    model: Model = "tiny-1m",
    space: Space = "sft_grpo",
    results: Results = None,
    csv: Annotated[Path | None, typer.Option(help="Where the table goes as CSV.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the picture goes (.svg).")] = None,
) -> None:
    """Regret over the budget as a table, a CSV and a picture, and the goals in words."""
    with friendly_errors():
        from benchmarks.replay.goals import goals
        from benchmarks.replay.picture import draw
        from benchmarks.replay.summary import collected, render_trials, summary

        settings, plan = _prepared(
            strategies, datasets, variants, seeds, budget, model, space, results
        )
        found = collected(settings, plan)
        for remark in found.remarks:
            console.print(remark, highlight=False, markup=False)
        rows = summary(found)
        console.print(render_trials(rows))
        for line in goals(found):
            console.print(line, highlight=False, markup=False)
        if csv is not None:
            write_csv(rows, csv, "%.5g")
            console.print(f"table: {csv}", highlight=False)
        for line in draw(found, settings.results / "regret.html", picture):
            console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    app()
