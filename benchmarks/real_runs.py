"""Real tune runs on datasets that the history does not know, each strategy with the same budget.

    python -m benchmarks.real_runs run      # runs what has no result yet; hours
    python -m benchmarks.real_runs show     # final test scores as a table

Every run is the real command with a copy of the bundled history from which all trials of its
dataset were taken, and learns nothing from the others. Wall-clock budgets are equal only on equal
machines: runs side by side get cores of their own, the same number each, and train one trial on
each core.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, get_args

import numpy as np
import typer
from rich.progress import track
from rich.table import Table
from typer import Option

from benchmarks.options import selected, with_options
from benchmarks.tune_runs import bundled_files, outcome, tune
from flows.cli.errors import friendly_errors
from flows.cli.options import parsed_budget
from flows.server.environment import configure
from flows.terminal.console import for_tables
from surrogates.space.options import Strategy
from tasks.history.rows import read_history
from trials.io.errors import SettingsError

RESULTS = Path(__file__).parent / "results" / "real"
DATASETS = "chain_sum_two_digits,number_filtering,word_sequence_reversal"
STRATEGIES = "autopipe,random,tpe"
WITH_PROXIES = "+proxies"  # behind a strategy's name: with the smaller models of the family
MODEL = "tiny-1m"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = for_tables()


@dataclass(frozen=True)
class Selection:
    """Options of both commands: which runs there are."""

    datasets: Annotated[str, Option(help="Names in the history, with commas between.")] = DATASETS
    strategies: Annotated[
        str, Option(help="Of `autopipe tune`, with commas between; autopipe+proxies: --proxy auto.")
    ] = STRATEGIES
    model: Annotated[str, Option(help="That is tuned.")] = MODEL
    seeds: Annotated[int, Option(help="Runs of each strategy on each dataset.", min=1)] = 3
    budget: Annotated[str, Option(help="Of each run, as `autopipe tune --budget` takes it.")] = (
        "150s"
    )
    workers: Annotated[int, Option(help="Runs side by side, each with its cores.", min=1)] = 1
    results: Annotated[Path, Option(help="Folder of the runs.")] = RESULTS

    def home(self, dataset: str, strategy: str, seed: int) -> Path:
        """Folder of one run; those of other budgets or numbers of cores have other names."""
        cores = len(shares_of_cores(self.workers)[0])
        budget = self.budget.replace(" ", "-")
        model = "" if self.model == MODEL else f"{self.model}."
        return self.results / f"{dataset}.{model}{strategy}.{budget}.{cores}-cores.{seed}"

    def arguments(self, dataset: str, strategy: str, seed: int) -> list[str]:
        """Of `autopipe tune`, but for the cores."""
        proxies = ["--proxy", "auto"] if strategy.endswith(WITH_PROXIES) else []
        return [
            dataset, "--model", self.model, "--strategy", strategy.removesuffix(WITH_PROXIES),
            *proxies, "--seed", str(seed), "--budget", self.budget,
        ]  # fmt: skip


def shares_of_cores(workers: int) -> list[set[int]]:
    """The cores of each worker, equally many.

    Raises:
        SettingsError: There are fewer cores than workers.
    """
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // workers
    if each == 0:
        raise SettingsError(f"--workers {workers}: there are {len(cores)} cores")
    return [set(cores[i * each : (i + 1) * each]) for i in range(workers)]


@app.command("run")
@with_options(Selection)
def run_command(selection: Selection) -> None:
    """Run what has no result yet; the machine should do nothing else meanwhile."""
    configure()
    with friendly_errors():
        parsed_budget(selection.budget)
        known = [*get_args(Strategy), f"autopipe{WITH_PROXIES}"]
        datasets = sorted(set(read_history(bundled_files())["dataset_id"]))
        left = [
            (dataset, strategy, seed)
            for seed in range(selection.seeds)
            for dataset in selected(selection.datasets, datasets, "dataset")
            for strategy in selected(selection.strategies, known, "strategy")
            if outcome(selection.home(dataset, strategy, seed)) is None
        ]
        free: SimpleQueue[set[int]] = SimpleQueue()
        for cores in shares_of_cores(selection.workers):
            free.put(cores)

        def one(dataset: str, strategy: str, seed: int) -> str:
            home, cores = selection.home(dataset, strategy, seed), free.get()
            arguments = selection.arguments(dataset, strategy, seed)
            arguments += ["--parallel", str(len(cores)), "--threads", "1"]
            try:
                found = tune(home, arguments, without=dataset, cores=cores)
            finally:
                free.put(cores)
            return f"{dataset} {strategy} {seed}: {found['best']['test']:.3f}"

        with ThreadPoolExecutor(selection.workers) as pool:
            runs = [pool.submit(one, *job) for job in left]
            try:
                for run in track(as_completed(runs), "runs", total=len(runs), console=console):
                    console.print(run.result(), highlight=False)
            finally:  # after a failure, waiting runs are not begun
                pool.shutdown(wait=False, cancel_futures=True)


@app.command()
@with_options(Selection)
def show(selection: Selection) -> None:
    """Test score of the recommended configuration: mean over seeds, and their range.

    Of two strategies also what the second gains over the first with the same seed, on the same
    rows: mean over seeds, with its standard error.
    """
    names, seeds = selection.strategies.split(","), selection.seeds
    cores = len(shares_of_cores(selection.workers)[0])
    size = f"{cores} core{'s' * (cores > 1)}"
    title = (
        f"Test score of {selection.model} after {selection.budget} on {size}, "
        f"mean of {seeds} seeds (least to most)"
    )
    table = Table("dataset", title=title)
    pair = ["gain"] if len(names) == 2 else []
    for name in [*names, *pair, "default", "base"]:
        table.add_column(name, justify="right")
    for dataset in selection.datasets.split(","):
        homes = [[selection.home(dataset, name, seed) for seed in range(seeds)] for name in names]
        runs = [[found for home in row if (found := outcome(home))] for row in homes]
        cells = [_cell([found["best"]["test"] for found in row], seeds) for row in runs]
        cells += [_gain(*homes)] if pair else []
        every = [found for row in runs for found in row]
        defaults = [found["default"]["test"] for found in every if found["default"]]
        bases = [found["base"]["test"] for found in every]
        table.add_row(dataset, *cells, _cell(defaults[:1], 1), _cell(bases[:1], 1))
    console.print(table)


def _gain(first: Sequence[Path], second: Sequence[Path]) -> str:
    """Mean difference of the test scores of runs with one seed, and its standard error."""
    found = [(outcome(one), outcome(other)) for one, other in zip(first, second, strict=True)]
    gains = [b["best"]["test"] - a["best"]["test"] for a, b in found if a and b]
    if not gains:
        return "–"
    error = f" ± {np.std(gains, ddof=1) / len(gains) ** 0.5:.3f}" if len(gains) > 1 else ""
    return f"{np.mean(gains):+.3f}{error}"


def _cell(scores: list[float], expected: int) -> str:
    if not scores:
        return "–"
    spread = f" ({min(scores):.3f} to {max(scores):.3f})" if len(scores) > 1 else ""
    missing = f", {expected - len(scores)} missing" if len(scores) < expected else ""
    return f"{np.mean(scores):.3f}{spread}{missing}"


if __name__ == "__main__":
    app()
