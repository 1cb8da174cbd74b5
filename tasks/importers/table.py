"""Plain tables, CSV or parquet: columns under our own names, or mapped to them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.history.curves import curve_problems
from tasks.importers.unsupported import reject_chart
from tasks.translation.cells import FIELDS, HYPERPARAMETERS, is_field, parse_cell
from tasks.translation.files import Line, Table, read_table
from tasks.translation.results import (
    CONFIG,
    ImportOptions,
    Items,
    Row,
    RowError,
    Score,
    make_row,
    with_content_id,
)
from trials.io.errors import SettingsError
from trials.io.problems import meant

NAMES = [*FIELDS, *HYPERPARAMETERS]


def read_table_rows(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every line of a table.

    Raises:
        SettingsError: when it cannot be read, has no line, or the options or a hyperparameter name
            an unknown column.
    """
    options = with_score_column(options)
    table = read_table(source)
    reject_chart(source, table.columns)
    check_columns(table, options)
    check_hyperparameters(table, options)
    notes += unused_columns_note(table, options)
    seen: Counter[str] = Counter()
    for line in table.lines:
        yield f"{source.name}, {line.place}", partial(_row, line, source.stem, options, seen)


def score_column(options: ImportOptions) -> Score:
    """The column that is the score, and its sign."""
    return options.columns.get("score", "score"), -1.0 if options.minimize else 1.0


def with_score_column(options: ImportOptions) -> ImportOptions:
    """Options with ``--score`` as the column of the score, and its minus sign as ``--minimize``."""
    if options.score is None or "score" in options.columns:
        return options
    return replace(
        options,
        columns={**options.columns, "score": options.score.removeprefix("-")},
        minimize=options.minimize or options.score.startswith("-"),
    )


def _row(line: Line, stem: str, options: ImportOptions, seen: Counter[str]) -> tuple[Row, Score]:
    values = parse_line(line, options)
    item = values.get("trial_id")
    if "run_id" not in values:  # else it is an export of a history, whose ids are kept
        values.pop("trial_id", None)
    row = line_row(str(item or stem), values, options)
    return (row if item else with_content_id(row, seen)), score_column(options)


def line_row(item: str, values: Mapping[str, Any], options: ImportOptions) -> Row:
    """The row of values under our names; a RowError without a score or a hyperparameter."""
    if values.get("score") is None and values.get("state") != "failed":
        raise RowError("no score in its line: map a column to it, as --map score=eval/accuracy")
    if not any(name.startswith(CONFIG) for name in values):
        raise RowError("no hyperparameter in its line: --map config.sft_learning_rate=COLUMN")
    row = make_row(options, item, values)
    return negate_score(row) if options.minimize else row


def negate_score(row: Row) -> Row:
    """A row with a minus sign before its scores, without their signals: the best was the worst."""
    row = {n: v for n, v in row.items() if not n.startswith("signal.score")}
    if row.get("score") is not None:
        row["score"] = -row["score"]
    if row.get("curve"):
        if problems := curve_problems(row["curve"]):
            raise RowError("; ".join(problems))
        curve = json.loads(row["curve"])
        for name, (steps, values) in curve.items():
            if name.endswith("/score"):
                curve[name] = [steps, [-value for value in values]]
        row["curve"] = json.dumps(curve, separators=(",", ":"))
    return row


def parse_line(line: Line, options: ImportOptions) -> dict[str, Any]:
    """The values of a line under our names, without empty ones; a RowError with all wrong cells."""
    if line.problem:
        raise RowError(line.problem)
    own = {name: name for name in line.cells if is_field(name) and name not in options.ignore}
    found, problems = {}, []
    for field, column in (own | dict(options.columns)).items():
        try:
            found[field] = parse_cell(field, line.cells[column], column)
        except RowError as error:
            problems.append(str(error))
    if problems:
        raise RowError("; ".join(problems))
    return {field: value for field, value in found.items() if value is not None}


def check_columns(table: Table, options: ImportOptions) -> None:
    """Refuses, with a SettingsError, options that name columns or fields which are not there."""
    named = {f"--ignore {column}": column for column in options.ignore}
    for field, column in options.columns.items():
        option = f"--map {field}={column}"
        named[option] = column
        if not is_field(field):
            raise SettingsError(
                f"{option}: {field!r} is not a field{meant(field, NAMES)}\n"
                f"  expected one of {', '.join(FIELDS)}, config.*, meta.* or signal.*"
            )
    for option, column in named.items():
        if column not in table.columns:
            raise SettingsError(
                f"{option}: {table.source.name} has no such column"
                f"{meant(column, table.columns)}\n  it has: {', '.join(table.columns)}"
            )


def check_hyperparameters(table: Table, options: ImportOptions) -> None:
    """Refuses, with a SettingsError, filled columns ``config.*`` whose values would be lost."""
    for name in _unused_columns(table, options):
        filled = any(line.cells.get(name) is not None for line in table.lines)
        if name.startswith(CONFIG) and filled:
            raise SettingsError(
                f"{table.source.name}: its column {name!r} is not a hyperparameter"
                f"{meant(name, HYPERPARAMETERS)}\n"
                f"  rename it, map it (--map config.NAME=COLUMN), or skip it (--ignore {name})"
            )


def unused_columns_note(table: Table, options: ImportOptions) -> list[str]:
    """One sentence that lists the columns which fill no field; none when there are none."""
    names = [repr(name) + meant(name, NAMES) for name in _unused_columns(table, options)]
    return [f"columns that were not used: {', '.join(names)}"] if names else []


def _unused_columns(table: Table, options: ImportOptions) -> list[str]:
    known = {*options.columns.values(), *options.ignore, ""}
    return [name for name in table.columns if name not in known and not is_field(name)]
