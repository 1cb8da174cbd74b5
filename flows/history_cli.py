"""``autopipe history``: import what a team already has, look at it, check it, export it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.environment import configure
from flows.errors import friendly_errors
from tasks.paths import HISTORY

app = typer.Typer(
    help="The history of trials: import, show, check and export it.", no_args_is_help=True
)
console = Console()

History = Annotated[Path, typer.Option(help="Folder of parquet files: what past runs know.")]
MOST_REASONS = 50


@app.command("import")
def import_runs(
    source: Annotated[
        Path, typer.Argument(help="Output folder(s), mlruns, or a .csv or .parquet table.")
    ],
    dataset: Annotated[str | None, typer.Option(help="Id of what was trained on.")] = None,
    model: Annotated[str | None, typer.Option(help="Id of the base model.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="auto, trl, mlflow, wandb or csv.")
    ] = "auto",
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN of a table, as score=accuracy; repeatable."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="Metric that is the score; -NAME where lower is better."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON of arguments that the runs did not save.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="sft, dpo or rl, where the arguments do not tell.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Devices that shared a batch.")] = 1,
    fingerprint: Annotated[
        str | None, typer.Option(help="Of the dataset's content, as in other rows.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the import; default: the source's.")] = None,
    history: History = HISTORY,
) -> None:
    """Add runs that were made elsewhere; what cannot be used is listed with the reason."""
    configure()
    from tasks.importers.common import Target
    from tasks.importers.sources import join_history, read_source
    from trials.errors import SettingsError
    from trials.records import STAGES

    with friendly_errors():
        if stage is not None and stage not in STAGES:
            raise SettingsError(f"--stage {stage}: expected sft, dpo or rl")
        label = name or source.resolve().stem
        target = Target(
            name=label,
            dataset_id=dataset,
            model_id=model,
            fingerprint=fingerprint,
            score=score,
            stage=next((known for known in STAGES if known == stage), None),
            config=config,
            processes=processes,
            columns=parsed_columns(columns or []),
        )
        joined = join_history(read_source(source, target, form), history, label)
        console.print(f"imported {joined.imported}, refused {len(joined.refused)}")
        show_reasons([(each.item, each.reason) for each in joined.refused])
        if joined.quarantined:
            console.print(f"{joined.quarantined} of these are kept in {history / 'quarantine'}")
        if joined.file is None:
            raise typer.Exit(2)
        console.print(f"wrote {joined.file}", soft_wrap=True)


@app.command()
def show(history: History = HISTORY) -> None:
    """Show what the history holds, by dataset and model."""
    from tasks.history import history_files, read_history

    with friendly_errors():
        files = history_files(history)
        rows = read_history(files)
        if rows.empty:
            console.print(f"no rows in {history}", soft_wrap=True)
            return
        table = Table("dataset", "model", "rows", "completed", "best", "median", box=None)
        for (dataset, model), part in rows.groupby(["dataset_id", "model_id"], dropna=False):
            scores = part["score"].astype(float)
            done = int((part["state"] == "completed").sum())
            table.add_row(
                escape(str(dataset)),
                escape(str(model)),
                str(len(part)),
                str(done),
                f"{scores.max():.3f}",
                f"{scores.median():.3f}",
            )
        console.print(table)
        console.print(f"{len(rows)} rows in {len(files)} files of {history}", soft_wrap=True)


@app.command()
def check(
    history: History = HISTORY,
    docs: Annotated[
        Path | None, typer.Option(help="Folder for the outcome as pages; it is replaced.")
    ] = None,
) -> None:
    """Check every row; bad ones are listed and put into the quarantine. Exit code 1 with any."""
    configure()
    from tasks.history import history_files, read_history
    from tasks.history_checks import REASON, check_history, put_aside, write_history_docs

    with friendly_errors():
        rows = read_history(history_files(history))
        good, bad = check_history(rows)
        console.print(f"{len(good)} good rows, {len(bad)} bad ones")
        show_reasons([(str(row.get("trial_id")), row[REASON]) for _, row in bad.iterrows()])
        if docs is not None and len(rows):
            console.print(f"pages: {write_history_docs(rows, docs)}", soft_wrap=True)
        if len(bad):
            console.print(f"kept in {put_aside(bad, history, 'check')}", soft_wrap=True)
            raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet file to write.")],
    history: History = HISTORY,
) -> None:
    """Write all rows into one table."""
    from tasks.history import history_files, read_history, write_parquet
    from trials.errors import SettingsError

    with friendly_errors():
        if file.suffix not in (".csv", ".parquet"):
            raise SettingsError(f"{file}: expected a name that ends in .csv or .parquet")
        rows = read_history(history_files(history))
        if rows.empty:
            raise SettingsError(f"no rows in {history}: nothing to export")
        if file.suffix == ".parquet":
            write_parquet(rows, file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            rows.to_csv(file, index=False)
        console.print(f"wrote {len(rows)} rows to {file}", soft_wrap=True)


def parsed_columns(pairs: list[str]) -> dict[str, str]:
    """``FIELD=COLUMN`` as a mapping.

    Raises:
        SettingsError: when one is not of this form, or a field is named twice.
    """
    from trials.errors import SettingsError

    columns: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise SettingsError(f"--map {pair}: expected FIELD=COLUMN, as score=eval/accuracy")
        if field in columns:
            raise SettingsError(f"--map names {field} twice: {columns[field]} and {column}")
        columns[field] = column
    return columns


def show_reasons(reasons: list[tuple[str, str]]) -> None:
    """A table of what was refused; a long one is cut, and says so."""
    if not reasons:
        return
    table = Table("item", "reason", box=None)
    for item, reason in reasons[:MOST_REASONS]:
        table.add_row(escape(item), escape(reason))
    console.print(table)
    if len(reasons) > MOST_REASONS:
        console.print(f"... and {len(reasons) - MOST_REASONS} more")
