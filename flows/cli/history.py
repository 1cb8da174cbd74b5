"""``autopipe history``: import what a team already has, look at it, check it, export it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer import Argument, Option

from flows.cli.errors import friendly_errors
from flows.cli.options import History
from flows.server.environment import configure
from flows.terminal.console import console, say
from tasks.config.paths import history_folder
from tasks.output.escape import rich_markup

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="The history of trials: import, show, check and export it.", no_args_is_help=True
)

MOST_REASONS, MOST_NAMES = 50, 10


@app.callback()
def begin() -> None:
    """The history of trials: import, show, check and export it."""
    from tasks.history.location import resolve_history_dir

    with friendly_errors():
        resolve_history_dir()  # one that is named in the environment is there from now on


@app.command("import")
def import_runs(
    source: Annotated[
        Path,
        Argument(
            help="Output folder(s), mlruns or mlflow.db, results of Ray Tune, a folder of W&B, or "
            "a .csv, .tsv or .parquet table."
        ),
    ],
    dataset: Annotated[str | None, Option(help="Id of the training dataset.")] = None,
    model: Annotated[str | None, Option(help="Id of the base model.")] = None,
    form: Annotated[
        str,
        Option("--format", help="Of the source: auto, trl, mlflow, wandb, optuna, ray or csv."),
    ] = "auto",
    columns: Annotated[
        list[str] | None,
        Option("--map", help="FIELD=COLUMN of a table, such as score=accuracy; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, Option(help="A column of a table to ignore; repeatable.")
    ] = None,
    score: Annotated[
        str | None, Option(help="Metric that is the score; -NAME where lower is better.")
    ] = None,
    minimize: Annotated[
        bool, Option("--minimize", help="Lower is better: negate the score.")
    ] = False,
    config: Annotated[
        Path | None, Option(help="YAML or JSON file of arguments that the runs did not save.")
    ] = None,
    stage: Annotated[
        str | None, Option(help="sft, dpo or rl, if the arguments do not say which.")
    ] = None,
    processes: Annotated[int, Option(min=1, help="Devices that shared a batch.")] = 1,
    fingerprint: Annotated[
        str | None, Option(help="Fingerprint of the dataset, as in other rows.")
    ] = None,
    name: Annotated[str | None, Option(help="Name of the import; default: the source's.")] = None,
    history: History = None,
) -> None:
    """Add runs that were made elsewhere; those that cannot be used are listed with the reason."""
    with friendly_errors():
        configure()
        from tasks.importers.sources import join_history, read_source
        from tasks.runs.formatting import pluralize
        from tasks.translation.results import ImportOptions
        from trials.io.errors import SettingsError
        from trials.spec.kinds import STAGES

        if stage is not None and stage not in STAGES:
            raise SettingsError(f"--stage {stage}: expected sft, dpo or rl")
        label = name or source.resolve().stem
        options = ImportOptions(
            name=label,
            dataset_id=dataset,
            model_id=model,
            fingerprint=fingerprint,
            score=score,
            minimize=minimize,
            stage=next((known for known in STAGES if known == stage), None),
            config=config,
            processes=processes,
            columns=parsed_columns(columns or []),
            ignore=frozenset(ignore or []),
        )
        folder = history or history_folder()
        joined = join_history(read_source(source, options, form), folder, label)
        are = "is" if joined.known == 1 else "are"
        known = f"{pluralize(joined.known, 'trial')} {are} there already"
        if joined.known and not joined.rows and not joined.rejected:
            say(f"nothing new: {known}")
            return
        more = f"; {known}" if joined.known else ""
        say(f"imported {len(joined.rows)}, refused {len(joined.rejected)}{more}")
        for note in [*joined.notes, *outside_space(joined.rows)]:
            say(note)
        show_reasons([(each.item, each.reason) for each in joined.rejected])
        if joined.quarantined:
            say(f"{joined.quarantined} of these are kept in {folder / 'quarantine'}")
        if joined.file is None:
            raise typer.Exit(0 if joined.known else 2)
        say(f"wrote {joined.file}")


@app.command()
def show(history: History = None) -> None:
    """Show what the history holds, by dataset and model."""
    with friendly_errors():
        from tasks.history.rows import history_files, read_history

        folder = history or history_folder()
        files = history_files(folder)
        rows = read_history(files)
        if rows.empty:
            say(f"no rows in {folder}")
            return
        table = Table("dataset", "model", "rows", "completed", "best", "median", box=None)
        for names, part in named_rows(rows).groupby(["dataset_id", "model_id"]):
            done = (part["state"] == "completed").sum()
            scores = part["score"].agg(["max", "median"])
            cells = ["-" if isnan(score) else f"{score:.3f}" for score in scores]
            table.add_row(*map(rich_markup, names), str(len(part)), str(done), *cells)
        console.print(table)
        say(f"{len(rows)} rows in {len(files)} files of {folder}")


@app.command()
def check(
    history: History = None,
    docs: Annotated[
        Path | None, Option(help="Folder for the results as HTML pages; it is replaced.")
    ] = None,
) -> None:
    """Check every row, list bad ones and move them to quarantine; exit code 1 if there are any."""
    with friendly_errors():
        configure()
        from tasks.history.checks import REASON, check_history, quarantine, write_history_docs
        from tasks.history.rows import history_files, read_history

        folder = history or history_folder()
        rows = read_history(history_files(folder))
        good, bad = check_history(rows)
        say(f"{len(good)} good rows, {len(bad)} bad ones")
        show_reasons([(str(row.get("trial_id")), row[REASON]) for _, row in bad.iterrows()])
        if docs is not None and len(rows):
            say(f"pages: {write_history_docs(rows, docs)}")
        if len(bad):
            if kept := quarantine(bad, folder, "check"):
                say(f"kept in {kept}")
            raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, Argument(help="A .csv or .parquet file to write.")],
    history: History = None,
) -> None:
    """Write all rows into one table."""
    from tasks.history.rows import history_files, read_history, write_parquet
    from tasks.output.csv_tables import write_csv
    from trials.io.errors import SettingsError

    with friendly_errors():
        if file.suffix not in (".csv", ".parquet"):
            raise SettingsError(f"{file}: expected a name that ends in .csv or .parquet")
        folder = history or history_folder()
        rows = read_history(history_files(folder))
        if rows.empty:
            raise SettingsError(f"no rows in {folder}: nothing to export")
        if file.suffix == ".parquet":
            write_parquet(rows, file)
        else:
            write_csv(rows, file)
        say(f"wrote {len(rows)} rows to {file}")


def parsed_columns(pairs: list[str]) -> dict[str, str]:
    """``FIELD=COLUMN`` as a mapping; a SettingsError on another form or a field named twice."""
    from trials.io.errors import SettingsError

    columns: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise SettingsError(f"--map {pair}: expected FIELD=COLUMN, such as score=eval/accuracy")
        if field in columns:
            raise SettingsError(f"--map names {field} twice: {columns[field]} and {column}")
        columns[field] = column
    return columns


def named_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that ``show`` needs; those that the files lack count as empty."""
    import pandas as pd

    named = rows.reindex(columns=["dataset_id", "model_id", "state", "score"]).astype(object)
    # As text, for names that are numbers in one file and text in another cannot be sorted.
    names = named[["dataset_id", "model_id"]].fillna("-").astype(str)
    return names.assign(
        state=named["state"].fillna("completed"),  # as rows without a state are read
        score=pd.to_numeric(named["score"], errors="coerce"),
    )


def outside_space(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence on hyperparameters outside each space that is searched when none is named."""
    from tasks.importers.sources import values_outside_space
    from tasks.inputs.auto_space import auto_space
    from tasks.inputs.sizes import model_size

    size_of = cache(model_size)
    by_size = defaultdict(list)
    for row in rows:
        by_size[size_of(str(row["model_id"]))].append(row)
    spaces = {size: auto_space(size) for size in by_size}
    return [
        f"outside the space {spaces[size][0]} of {size}, learned from as values at its bounds: "
        f"{', '.join(values)}; to search them, tune with a --space that contains them"
        for size, own in sorted(by_size.items(), key=lambda each: each[0].parameters)
        if (values := values_outside_space(own, spaces[size][1]))
    ]


def show_reasons(reasons: list[tuple[str, str]]) -> None:
    """A table of what was refused, each reason once; a long one is cut, and says so."""
    if not reasons:
        return
    items = defaultdict(list)
    for item, reason in reasons:
        items[reason].append(item)
    table = Table("item", "reason", box=None)
    for reason, of_it in list(items.items())[:MOST_REASONS]:
        table.add_row(rich_markup(together(of_it)), rich_markup(reason))
    console.print(table)
    if len(items) > MOST_REASONS:
        say(f"... and {len(items) - MOST_REASONS} more reasons")


def together(items: Sequence[str]) -> str:
    """Items that have one reason: ``5 items, lines 2-5 and 9``, or the first of their names."""
    if len(items) == 1:
        return items[0]
    lines = [int(found[1]) for item in items if (found := re.search(r"\bline (\d+)$", item))]
    if len(lines) == len(items):
        return f"{len(items)} items, lines {', '.join(_ranges(sorted(lines)))}"
    more = f" and {len(items) - MOST_NAMES} more" if len(items) > MOST_NAMES else ""
    return f"{len(items)} items: {'; '.join(items[:MOST_NAMES])}{more}"


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Numbers in their order as ``2-5`` and ``9``."""
    for _, group in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        first, *rest = [number for _, number in group]
        yield f"{first}-{rest[-1]}" if rest else f"{first}"
