"""The search against the default, beyond noise, on datasets that the history does not know.

    python -m benchmarks.examples run       # runs what is not in the table yet; hours
    python -m benchmarks.examples show      # gains over the default as a table

Every run is `autopipe tune DATASET --model MODEL --seed S`, the command of the bundled example,
with a copy of the bundled history, so no run learns from another. The default budget is not one of
time, so the outcome does not depend on how busy the machine is. What each found is added to
``docs/examples.csv``, by which the example of `autopipe tune` was chosen.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.table import Table
from typer import Option

from benchmarks.options import selected, with_options
from benchmarks.tune_runs import bundled_files, tune
from flows.cli.errors import friendly_errors
from flows.cli.options import parsed_budget
from flows.server.environment import configure
from flows.terminal.console import for_tables, say
from tasks.config.settings import EXAMPLE_MODEL
from tasks.history.rows import read_history
from tasks.inputs.catalog import Catalog, DatasetEntry, SplitSizes, build_dataset, load_catalog
from tasks.output.csv_tables import read_csv, write_csv
from trials.io.atomic import replacing
from trials.outcomes.provenance import git_commit

RESULTS = Path(__file__).parent / "results" / "examples"
TABLE = Path(__file__).parents[1] / "docs" / "examples.csv"
COLUMNS = ["model", "dataset", "budget", "seed", "base", "default", "best", "gain", "gain_se"]
COLUMNS += ["commit"]
SIZES = SplitSizes(train=2000, validation=200, test=300)
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
console = for_tables()


@dataclass(frozen=True)
class Selection:
    """Options of both commands: which runs there are."""

    datasets: Annotated[str, Option(help="Names with commas between; default: all candidates.")] = (
        ""
    )
    seeds: Annotated[int, Option(help="Runs on each dataset.", min=1)] = 5
    model: Annotated[str, Option(help="Of the catalog.")] = EXAMPLE_MODEL
    budget: Annotated[str, Option(help="Of each run; default: that of `autopipe tune`.")] = ""
    table: Annotated[Path, Option(help="CSV file of the outcomes.")] = TABLE

    def names(self) -> list[str]:
        """The chosen candidates."""
        return selected(self.datasets, candidates(), "dataset")

    def home(self, results: Path, name: str, seed: int) -> Path:
        """Folder of one run; those of other models and budgets have other names."""
        budget = self.budget.replace(" ", "-") or "default"
        return results / f"{self.model}.{name}.{budget}.{seed}"

    def finished(self) -> pd.DataFrame:
        """Outcomes of the runs of this model with this budget, one row per run."""
        if not self.table.exists():
            return pd.DataFrame(columns=COLUMNS)
        rows = read_csv(self.table, dtype={"budget": str}, keep_default_na=True)
        return rows[(rows["model"] == self.model) & (rows["budget"].fillna("") == self.budget)]


def candidates() -> list[str]:
    """Datasets of the catalog without a trial in the bundled history, and the relatives."""
    known = set(read_history(bundled_files())["dataset_id"])
    return [name for name in load_catalog().datasets if name not in known] + list(RELATIVES)


def dataset_argument(name: str, results: Path) -> str:
    """The argument of `autopipe tune` for a candidate; a relative is built into a folder first."""
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
    named = built.with_name(name)  # a run is named after the folder
    if not named.exists():
        named.symlink_to(built.name)
    return str(named)


def record(table: Path, row: dict[str, Any]) -> None:
    """Add a row; the table is sorted, so the order in which runs ended does not matter."""
    rows = [pd.DataFrame([row], columns=COLUMNS)]
    if table.exists():
        rows.insert(0, read_csv(table, dtype={"budget": str}))
    whole = pd.concat(rows).sort_values(["model", "dataset", "budget", "seed"])
    with replacing(table) as draft:
        write_csv(whole, draft, float_format="%.5f")


@app.command("run")
@with_options(Selection)
def run_command(
    selection: Selection,
    results: Annotated[
        Path, Option(help="Folder of the runs, each removed once it is recorded.")
    ] = RESULTS,
) -> None:
    """Run what is not in the table yet, one run after the other."""
    configure()
    model, budget = selection.model, selection.budget
    with friendly_errors():
        if budget:
            parsed_budget(budget)
        selected(model, load_catalog().models, "model")  # it becomes part of a folder's name
        for seed, name in itertools.product(range(selection.seeds), selection.names()):
            known = selection.finished()
            if ((known["dataset"] == name) & (known["seed"] == seed)).any():
                continue
            home, dataset = selection.home(results, name, seed), dataset_argument(name, results)
            arguments = [dataset, "--model", model, "--seed", str(seed)]
            found = tune(home, [*arguments, *(["--budget", budget] if budget else [])])
            row = {"model": model, "dataset": name, "budget": budget, "seed": seed}
            row |= {which: found[which]["test"] for which in ("base", "default", "best")}
            row |= {"gain": found["paired_gain"], "gain_se": found["paired_gain_se"]}
            record(selection.table, row | {"commit": git_commit()})
            shutil.rmtree(home)
            say(f"{name} {seed}: {_gain(found)}")


@app.command()
@with_options(Selection)
def show(selection: Selection) -> None:
    """Test scores and gains over the default, mean over the finished seeds."""
    with friendly_errors():
        rows = selection.finished()
        shown = Table("dataset", title="Gain over the default on the test rows")
        for column in ("base", "default", "best", "gain (least to most)", "beyond noise"):
            shown.add_column(column, justify="right")
        for name in selection.names():
            own = rows[(rows["dataset"] == name) & (rows["seed"] < selection.seeds)]
            shown.add_row(name, *_cells(own))
        console.print(shown)


def _cells(rows: pd.DataFrame) -> list[str]:
    """Beyond noise is a gain of more than two standard errors of the paired difference."""
    if rows.empty:
        return ["–"] * 5
    means = [f"{rows[which].mean():.3f}" for which in ("base", "default", "best")]
    gains = rows["gain"].fillna(0.0)
    spread = f"{gains.mean():+.3f} ({gains.min():+.3f} to {gains.max():+.3f})"
    beyond = rows["gain"] > 2 * rows["gain_se"]
    return [*means, spread, f"{beyond.sum()} of {len(rows)}"]


def _gain(summary: dict[str, Any]) -> str:
    gain, error = summary["paired_gain"], summary["paired_gain_se"]
    return "no default to compare with" if gain is None else f"{gain:+.3f} ± {error:.3f}"


if __name__ == "__main__":
    app()
