"""Offline: from datasets and the history to models, and how good they are on unseen datasets.

    python -m flows.offline                # all steps
    python -m flows.offline featurize      # one: datasets validate featurize train evaluate show

Each step reads and writes files, so that DVC runs only those whose inputs changed: dvc.yaml calls
this file once a stage. `make offline` does that, and shows the tables.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from flows.environment import configure_script

configure_script()

import pandas as pd  # noqa: E402
import typer  # noqa: E402
from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from flows.errors import friendly_errors  # noqa: E402
from flows.server import prefect_server  # noqa: E402
from flows.terminal import for_tables  # noqa: E402
from tasks.config.params import PARAMS, load_section  # noqa: E402
from tasks.config.paths import OfflineFolder, built_folder, offline_folder  # noqa: E402
from tasks.config.progress import Report, silent  # noqa: E402
from tasks.history.location import resolve_history_dir  # noqa: E402
from tasks.history.rows import history_files  # noqa: E402
from tasks.inputs.catalog import build_catalog, load_catalog  # noqa: E402
from tasks.monitoring.prefect_pages import publish_markdown, publish_table  # noqa: E402
from tasks.offline.evaluate import (  # noqa: E402
    SECTION,
    SHOWN,
    Evaluation,
    OfflineSettings,
    evaluate,
    read_evaluation,
    with_error,
)
from tasks.offline.features import featurize_history  # noqa: E402
from tasks.offline.train import train  # noqa: E402
from tasks.offline.validate import validate_all  # noqa: E402
from tasks.output.escape import markdown  # noqa: E402
from tasks.runs.versions import FEATURES_NAME, HISTORY_NAME, MODELS_NAME  # noqa: E402
from tasks.sync.lock import offline_lock  # noqa: E402
from tasks.versioning.provenance import version_inputs, version_outputs  # noqa: E402


class Step(StrEnum):
    """The steps of the flow in their order, and `show`, which prints what was found."""

    DATASETS = "datasets"
    VALIDATE = "validate"
    FEATURIZE = "featurize"
    TRAIN = "train"
    EVALUATE = "evaluate"
    SHOW = "show"


ALL = tuple(step for step in Step if step is not Step.SHOW)
TITLES = {
    "kendall_tau": "Kendall tau", "ndcg5": "NDCG@5", "regret1": "regret@1", "regret3": "regret@3",
    "regret5": "regret@5", "spearman": "Spearman", "spearman_last": "last score",
    "mae": "MAE", "mae_last": "last score", "coverage90": "90 % coverage", "saved": "cost saved",
    "gain": "tau gained",
}  # fmt: skip

build_datasets = task(name="build_datasets", cache_policy=NO_CACHE)(build_catalog)

Say = Callable[[str], None]
Watch = Callable[[Step], Report]
_shown: ContextVar[tuple[Watch, Say] | None] = ContextVar("shown", default=None)


def _listeners() -> tuple[Watch, Say]:
    """Who shows progress, and what a person should know: the terminal's, else Prefect's log."""
    return _shown.get() or (lambda step: silent, get_run_logger().info)


@flow(name="offline", flow_run_name="offline models")
def offline(
    steps: Sequence[Step] = ALL,
    settings: OfflineSettings | None = None,
    history: Path | None = None,
    built: Path | None = None,
    output: Path | None = None,
) -> None:
    """Check the history, describe its datasets and models, train the offline models, judge them.

    Args:
        steps: Which; one that is left out must have left its files before.
        settings: Empty: the section `offline` of params.yaml.
        history: Folder of parquet files; empty: the project's.
        built: Folder of the built datasets; empty: the project's.
        output: Where everything else goes; empty: the project's data/offline.

    What it read and wrote is noted in versions.json of the output, unless `dvc repro` notes it.

    Raises:
        AutoPipeError: data that cannot be used, or an earlier step is missing.
        HistoryError: the history is too thin to judge anything.
    """
    watch, say = _listeners()
    settings = settings or load_section(OfflineSettings, SECTION, PARAMS)
    history, built = resolve_history_dir(history), built or built_folder()
    folder = OfflineFolder(output) if output else offline_folder()
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        say(text)

    with offline_lock(folder.path):
        run_steps(steps, settings, history, built, folder, watch, tell)
    if said:
        publish_markdown(
            "\n".join(f"- {markdown(text)}" for text in said), "offline", "What the steps found"
        )


def run_steps(
    steps: Sequence[Step],
    settings: OfflineSettings,
    history: Path,
    built: Path,
    folder: OfflineFolder,
    watch: Watch,
    say: Say,
) -> None:
    """Each step on the files that the ones before it left."""
    catalog = load_catalog()
    # A stage of `dvc repro` has its revisions in dvc.lock.
    kept = "DVC_STAGE" not in os.environ
    if Step.DATASETS in steps:
        build_datasets(built, catalog, counter(watch(Step.DATASETS)))
    if Step.VALIDATE in steps:
        rows = validate_all(built, history, folder, watch(Step.VALIDATE))
        if kept:
            version_inputs(folder.path, {HISTORY_NAME: history_files(history)})
        for suite, counts in rows.items():
            say(f"{suite}: {counts['rows_good']} rows good, {counts['rows_put_aside']} put aside")
        say(f"Data Docs: {folder.data_docs / 'index.html'}")
    if Step.FEATURIZE in steps:
        left = featurize_history(built, catalog.models, folder, watch(Step.FEATURIZE))
        for pair in left:
            say(f"keeps the features of its own rows: {pair}")
        if kept:
            version_outputs(folder.path, {FEATURES_NAME: folder.features})
    if Step.TRAIN in steps:
        watch(Step.TRAIN)("all models", 0, 1)
        train(settings.space, settings.seed, folder)
        if kept:
            version_outputs(folder.path, {MODELS_NAME: folder.models})
    if Step.EVALUATE in steps:
        found = evaluate(settings, folder, watch(Step.EVALUATE))
        say(f"the search would use: {found.chosen}")
        publish_table(ranking_rows(found), "offline-ranking", "Ranking a dataset left out")


def ranking_rows(found: Evaluation) -> list[dict[str, str]]:
    """Ways of ranking on datasets left out, mean ± standard error, as text."""
    columns = {TITLES[name]: with_error(found.ranker, name) for name in SHOWN}
    return [
        {"method": str(method), **{title: column[row] for title, column in columns.items()}}
        for row, method in enumerate(found.ranker["method"])
    ]


def counter(report: Report) -> Callable[[int, int], None]:
    """A report for those that only count."""
    return lambda done, total: report("", done, total)


def main(
    step: Annotated[Step | None, typer.Argument(help="One step alone; default: all.")] = None,
    history: Annotated[Path | None, typer.Option(help="Folder of parquet files.")] = None,
    built: Annotated[Path | None, typer.Option(help="Folder of the built datasets.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where everything else goes.")] = None,
    params: Annotated[Path, typer.Option(help="File with a section `offline`.")] = PARAMS,
) -> None:
    """Build datasets, validate, describe, train, and judge on datasets left out."""
    console = for_tables()
    folder = OfflineFolder(output) if output else offline_folder()
    steps = ALL if step is None else (step,)
    with friendly_errors():
        if step is not Step.SHOW:
            settings = load_section(OfflineSettings, SECTION, params)
            with prefect_server(), bars(console) as watch:
                say = lambda text: console.print(text, highlight=False, soft_wrap=True)  # noqa: E731
                token = _shown.set((watch, say))
                try:
                    offline(steps, settings, history, built, output)
                finally:
                    _shown.reset(token)
        if {Step.EVALUATE, Step.SHOW} & set(steps):
            show(read_evaluation(folder), console)


@contextmanager
def bars(console: Console) -> Iterator[Watch]:
    """A progress bar for each step; at its end, how long it took."""
    start, current = time.monotonic(), ""

    def ended() -> None:
        if current:
            console.print(f"{current}: {time.monotonic() - start:.1f} s", highlight=False)

    columns = (TextColumn("{task.description:40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("")

        def watch(step: Step) -> Report:
            nonlocal start, current
            ended()
            start, current = time.monotonic(), step.value
            progress.reset(bar)

            def report(what: str, done: int, total: int) -> None:
                name = f"{step.value}: {what}" if what else step.value
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
        _table(f"Ranking a dataset left out ({size})", found.ranker, "method", list(SHOWN)),
        _table("What meta-features add to the ranker", found.features, "method", ["gain", *SHOWN]),
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
