"""How often the search beats the default beyond noise, on datasets that the history does not know.

    python -m benchmarks.examples run       # plays what was not played yet; hours
    python -m benchmarks.examples show      # gains over the default as a table

Every run is `autopipe tune DATASET --seed S`, the command of the bundled example, with a copy of
the bundled history, so no run learns from another. The default budget is not one of time, so the
outcome does not depend on how busy the machine is. The catalog's example was chosen by this table.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.tune_runs import HISTORY, bundled_files, checked_names, outcome, tune
from flows.environment import configure
from flows.errors import friendly_errors
from flows.options import parsed_budget
from tasks.catalog import Catalog, DatasetEntry, Sizes, build_dataset, load_catalog
from tasks.history import read_history

RESULTS = Path(__file__).parent / "results" / "examples"
SIZES = Sizes(train=2000, validation=200, test=300)
# Beside the catalog's datasets without trials in the history: near relatives of those with trials.
RELATIVES: dict[str, dict[str, Any]] = {
    "number_filtering_of_three": {
        "dataset": "number_filtering",
        "params": {"min_numbers": 3, "max_numbers": 3, "max_decimals": 0,
                   "min_value": 0, "max_value": 20},
        "answer_form": "list",
    },
    "word_sequence_reversal_of_three": {
        "dataset": "word_sequence_reversal",
        "params": {"min_words": 3, "max_words": 3},
        "answer_form": "list",
    },
    "chain_sum_of_two_digits": {
        "dataset": "chain_sum",
        "params": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2},
        "answer_form": "integer",
    },
    "decimal_sum_of_two_digits": {
        "dataset": "decimal_chain_sum",
        "params": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2,
                   "min_decimal_places": 1, "max_decimal_places": 1},
        "answer_form": "decimal",
    },
}  # fmt: skip

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console()

Datasets = Annotated[str, typer.Option(help="Names with commas between; default: all candidates.")]
Seeds = Annotated[int, typer.Option(help="Runs on each dataset.", min=1)]
Budget = Annotated[str, typer.Option(help="Of each run; default: that of `autopipe tune`.")]
Results = Annotated[Path, typer.Option(help="Folder of the runs.")]


def candidates() -> list[str]:
    """Datasets of the catalog without a trial in the bundled history, and the relatives."""
    known = set(read_history(bundled_files())["dataset_id"])
    return [name for name in load_catalog().datasets if name not in known] + list(RELATIVES)


def dataset_argument(name: str, results: Path) -> str:
    """What `autopipe tune` takes for a candidate; a relative is built first, into a folder."""
    if name not in RELATIVES:
        return name
    entry = DatasetEntry(
        generator="reasoning_gym",
        seed=40_000_000 + 100_000 * list(RELATIVES).index(name),
        sizes=SIZES,
        reward="reasoning_gym",
        description=name.replace("_", " ").capitalize() + ".",
        **RELATIVES[name],
    )
    catalog = Catalog(datasets={name: entry.model_copy(update={"example": True})}, models={})
    built = build_dataset(name, results / "datasets", catalog)
    named = built.with_name(name)  # a run is called after the folder
    if not named.exists():
        named.symlink_to(built.name)
    return str(named)


def home_of(results: Path, name: str, seed: int, budget: str) -> Path:
    """Folder of one run; those of other budgets have other names."""
    return results / f"{name}.{budget.replace(' ', '-') or 'default'}.{seed}"


def play(home: Path, dataset: str, seed: int, budget: str) -> None:
    """One run from a clean start; what an interrupted one left is taken away.

    Raises:
        SettingsError: The command failed; its last lines say why.
    """
    shutil.rmtree(home, ignore_errors=True)
    (home / HISTORY).mkdir(parents=True)
    for file in bundled_files():
        shutil.copyfile(file, home / HISTORY / file.name)
    tune(home, [dataset, "--seed", str(seed), *(["--budget", budget] if budget else [])])


@app.command("run")
def run_command(
    datasets: Datasets = "", seeds: Seeds = 5, budget: Budget = "", results: Results = RESULTS
) -> None:
    """Play what was not played yet, one run after the other."""
    configure()
    with friendly_errors():
        if budget:
            parsed_budget(budget)
        for seed in range(seeds):
            for name in _chosen(datasets):
                home = home_of(results, name, seed, budget)
                if outcome(home) is None:
                    play(home, dataset_argument(name, results), seed, budget)
                found = outcome(home)
                assert found is not None
                console.print(f"{name} {seed}: {_gain(found)}", highlight=False)


@app.command()
def show(
    datasets: Datasets = "", seeds: Seeds = 5, budget: Budget = "", results: Results = RESULTS
) -> None:
    """Test scores and gains over the default, mean over the seeds that were played."""
    with friendly_errors():
        table = Table(title="Gain over the default on the test rows")
        for column in (
            "dataset",
            "base",
            "default",
            "best",
            "gain (least to most)",
            "beyond noise",
        ):
            table.add_column(column, justify="left" if column == "dataset" else "right")
        for name in _chosen(datasets):
            ended = [outcome(home_of(results, name, seed, budget)) for seed in range(seeds)]
            found = [summary for summary in ended if summary is not None]
            table.add_row(name, *_cells(found))
        console.print(table)


def _chosen(datasets: str) -> list[str]:
    return checked_names(datasets, candidates()) if datasets else candidates()


def beyond_noise(summary: dict[str, Any]) -> bool:
    """Whether the gain exceeds two standard errors of the paired difference."""
    gain, error = summary["paired_gain"], summary["paired_gain_se"]
    return gain is not None and gain > 2 * error


def _cells(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["–"] * 5
    means = [
        f"{np.mean([summary[which]['test'] for summary in found]):.3f}"
        for which in ("base", "default", "best")
    ]
    gains = [summary["paired_gain"] or 0.0 for summary in found]
    spread = f"{np.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})"
    return [*means, spread, f"{sum(map(beyond_noise, found))} of {len(found)}"]


def _gain(summary: dict[str, Any]) -> str:
    gain, error = summary["paired_gain"], summary["paired_gain_se"]
    return "no default to compare with" if gain is None else f"{gain:+.3f} ± {error:.3f}"


if __name__ == "__main__":
    app()
