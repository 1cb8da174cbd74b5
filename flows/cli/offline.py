"""``python -m flows.offline`` in the terminal: the steps of the offline pipeline, its tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer import Argument, Option

from flows.cli.errors import friendly_errors
from flows.cli.options import History
from flows.offline import ALL, TITLES, Step, as_text, listening, offline
from flows.server.prefect import prefect_server
from flows.terminal.console import for_tables
from tasks.config.params import PARAMS, load_section
from tasks.config.paths import OfflineFolder, offline_folder
from tasks.config.progress import Report
from tasks.offline.evaluate import SECTION, SHOWN, Evaluation, OfflineSettings, read_evaluation


def run(
    step: Annotated[Step | None, Argument(help="One step alone; default: all.")] = None,
    history: History = None,
    built: Annotated[Path | None, Option(help="Folder of the built datasets.")] = None,
    output: Annotated[Path | None, Option(help="Folder of everything else.")] = None,
    params: Annotated[Path, Option(help="File with a section `offline`.")] = PARAMS,
) -> None:
    """Build datasets, validate, describe, train, and evaluate on datasets left out."""
    console = for_tables()
    steps = ALL if step is None else (step,)
    with friendly_errors():
        if step is not Step.SHOW:
            settings = load_section(OfflineSettings, SECTION, params)
            say = partial(console.print, highlight=False, soft_wrap=True)
            with prefect_server(), bars(console) as watch, listening(watch, say):
                offline(steps, settings, history, built, output)
        if step in (None, Step.EVALUATE, Step.SHOW):
            folder = OfflineFolder(output) if output else offline_folder()
            show(read_evaluation(folder), console)


def main() -> NoReturn:
    """The program, which ends with its exit code."""
    typer.run(run)
    sys.exit()


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str], Report]]:
    """A progress bar for each step; at its end, how long it took."""
    start, current = time.monotonic(), ""

    def ended() -> None:
        if current:
            console.print(f"{current}: {time.monotonic() - start:.1f} s", highlight=False)

    columns = (TextColumn("{task.description:40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("")

        def watch(step: str) -> Report:
            nonlocal start, current
            ended()
            start, current = time.monotonic(), str(step)
            progress.reset(bar)

            def report(what: str, done: int, total: int) -> None:
                name = f"{step}: {what}" if what else step
                progress.update(bar, description=name, completed=done, total=total)

            report("", 0, 1)
            return report

        yield watch
        ended()


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
        _table(f"Ranking a dataset left out ({size})", found.ranker, "method", SHOWN),
        _table("What meta-features add to the ranker", found.features, "method", ["gain", *SHOWN]),
        _table("Final score predicted from the start of a trial", found.early, "fraction", early),
    ]


def _table(title: str, data: pd.DataFrame, key: str, metrics: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(key)
    for name in metrics:
        table.add_column(TITLES[name], justify="right")
    for row in as_text(data, key, metrics):
        table.add_row(*row.values())
    return table
