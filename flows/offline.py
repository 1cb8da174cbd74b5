"""Offline: what the models know of datasets they have not seen, measured on the history.

    python -m flows.offline            # or: make offline, or: dvc repro offline-evaluate

Every dataset is left out once; the models and the baselines rank its trials from the others'.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from flows.environment import configure

configure()

import pandas as pd  # noqa: E402
import typer  # noqa: E402
from prefect import flow  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from flows.cli import friendly_errors  # noqa: E402
from tasks.evaluate import (  # noqa: E402
    PARAMS,
    SHOWN,
    Evaluation,
    OfflineSettings,
    Report,
    evaluate,
    fitted,
    load_settings,
    parts,
    past_trials,
    with_error,
    write_evaluation,
)
from tasks.paths import DATA, HISTORY  # noqa: E402

OUTPUT = DATA / "offline"
TITLES = {
    "kendall_tau": "Kendall tau", "ndcg5": "NDCG@5", "regret1": "regret@1", "regret3": "regret@3",
    "regret5": "regret@5", "spearman": "Spearman", "spearman_last": "last score",
    "mae": "MAE", "mae_last": "last score", "coverage90": "90 % coverage", "saved": "cost saved",
}  # fmt: skip


@flow(name="offline", validate_parameters=False)
def offline_flow(
    settings: OfflineSettings, history: Path, output: Path, report: Report
) -> Evaluation:
    """Reads and checks the history, fits the models, judges them and writes what was found.

    Args:
        settings: the section `offline` of params.yaml.
        history: folder of parquet files.
        output: folder of metrics.json and plots/.
        report: told the name of each part as it begins.

    Raises:
        AutoPipeError: the history cannot be read, or the settings do not fit it.
        HistoryError: it is too thin to judge anything.
    """
    report("history")
    rows = past_trials(history, settings)
    report("models of the search")
    models = fitted(rows, settings)
    found = evaluate(rows, models, settings, report)
    write_evaluation(found, output)
    return found


def main(
    history: Annotated[Path, typer.Option(help="Folder of parquet files.")] = HISTORY,
    output: Annotated[Path, typer.Option(help="Where metrics.json and plots/ go.")] = OUTPUT,
    params: Annotated[Path, typer.Option(help="File with a section `offline`.")] = PARAMS,
) -> None:
    """Judge the offline models, leaving one dataset out at a time."""
    # Without a terminal, as in a log, the tables keep their full width.
    console = Console(width=None if sys.stdout.isatty() else 140)
    with friendly_errors():
        settings = load_settings(params)
        with Progress(
            TextColumn("{task.description:30}"), BarColumn(), TimeElapsedColumn(), console=console
        ) as progress:
            bar = progress.add_task("", total=parts(settings) + 2)
            seen = 0

            def report(name: str) -> None:
                nonlocal seen
                progress.update(bar, description=name, completed=seen)
                seen += 1

            found = offline_flow(settings, history, output, report)
            progress.update(bar, description="done", completed=seen)
        show(found, console)
        console.print(f"written: {output / 'metrics.json'}, {output / 'plots'}", soft_wrap=True)


def show(found: Evaluation, console: Console) -> None:
    """Prints the three tables, mean ± standard error over datasets."""
    for each in tables(found):
        console.print(each)
    trust = f"it expects a correlation of {found.trusted:.2f}" if found.trusted else "untrusted"
    console.print(f"The search would use: {found.chosen}; {trust}", highlight=False)


def tables(found: Evaluation) -> list[Table]:
    """Ranking, features, early predictor."""
    size = (
        f"{found.trials} trials, {found.groups} dataset x model groups, {found.datasets} datasets"
    )
    early = ["spearman", "spearman_last", "mae", "mae_last", "coverage90", "saved"]
    return [
        _table(f"Ranking a dataset left out ({size})", found.ranker, "method", list(SHOWN)),
        _table("What meta-features add to the ranker", found.features, "method", list(SHOWN)),
        _table("Final score from the beginning of a trial", found.early, "fraction", early),
    ]


def _table(title: str, data: pd.DataFrame, key: str, metrics: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(key)
    for name in metrics:
        table.add_column(TITLES[name], justify="right")
    columns = [[str(v) for v in data[key]], *(with_error(data, name) for name in metrics)]
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    typer.run(main)
