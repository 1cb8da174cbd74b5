"""Plain tables, CSV or parquet: columns under our own names, or mapped to them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.history.packed import curve_problems
from tasks.importers.named import refuse_chart
from tasks.translation.cells import CONFIG, FIELDS, is_field, typed
from tasks.translation.common import Imported, NoRowError, Target, make_row, number_by_content
from tasks.translation.files import Line, Table, read_table
from trials.io.errors import SettingsError
from trials.io.problems import meant
from trials.spec.hyperparameters import Hyperparameters

HYPERPARAMETERS = [f"{CONFIG}{name}" for name in Hyperparameters.model_fields]


def import_table(source: Path, target: Target) -> Imported:
    """Imports every line of a table.

    Raises:
        SettingsError: when it cannot be read, has no line, or ``target`` or a hyperparameter names
            a column that is not known.
    """
    target = with_score(target)
    table = read_table(source)
    refuse_chart(source, table.columns)
    check_columns(table, target.columns, target.ignore)
    check_hyperparameters(table, target.columns, target.ignore)
    imported = Imported(notes=unused(table, target.columns, target.ignore))
    same: Counter[str] = Counter()
    for line in table.lines:
        item = f"{source.name}, {line.place}"
        imported.attempt(item, _line, line, source.stem, target, same)
    if imported.rows:
        imported.metrics[score_column(target)] = len(imported.rows)
    return imported


def score_column(target: Target) -> tuple[str, float]:
    """The column that is the score, and its sign."""
    return target.columns.get("score", "score"), -1.0 if target.minimize else 1.0


def with_score(target: Target) -> Target:
    """``--score`` as a column of a table, which goes to the score with its sign."""
    if target.score is None or "score" in target.columns:
        return target
    column = target.score.removeprefix("-")
    return replace(
        target,
        columns={**target.columns, "score": column},
        minimize=target.minimize or target.score.startswith("-"),
    )


def _line(line: Line, stem: str, target: Target, same: Counter[str]) -> dict[str, Any]:
    values = mapped(line, target.columns, target.ignore)
    item = values.get("trial_id")
    if "run_id" not in values:  # else it is an export of a history, whose ids are kept
        values.pop("trial_id", None)
    row = row_of(str(item or stem), values, target)
    return row if item else number_by_content(row, same)


def row_of(item: str, values: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """The row of one line; ``values`` are under our names.

    Raises:
        NoRowError: when it has no score, though it did not fail, or no configuration.
    """
    if values.get("score") is None and values.get("state") != "failed":
        raise NoRowError("no score in its line: map a column to it, as --map score=eval/accuracy")
    if not any(name.startswith(CONFIG) for name in values):
        raise NoRowError("no hyperparameter in its line: --map config.sft_learning_rate=COLUMN")
    config = {n.removeprefix(CONFIG): v for n, v in values.items() if n.startswith(CONFIG)}
    others = {n: v for n, v in values.items() if not n.startswith(CONFIG)}
    row = make_row(target, item, config=config, **others)
    return turned_round(row) if target.minimize else row


def turned_round(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of which a low score is a good one, with a minus sign: in its curve as well.

    Signals of the score are left out, for the best one was taken of the wrong end.
    """
    row = {n: v for n, v in row.items() if not n.startswith("signal.score")}
    if row.get("score") is not None:
        row["score"] = -row["score"]
    if row.get("curve"):
        if problems := curve_problems(row["curve"]):
            raise NoRowError("; ".join(problems))
        curve = json.loads(row["curve"])
        for name, (steps, values) in curve.items():
            if name.endswith("/score"):
                curve[name] = [steps, [-value for value in values]]
        row["curve"] = json.dumps(curve, separators=(",", ":"))
    return row


def mapped(line: Line, columns: Mapping[str, str], ignore: Collection[str] = ()) -> dict[str, Any]:
    """The values of a line under our names; what is empty, or to be ignored, is left out.

    Raises:
        NoRowError: when a cell is not of its field's type, naming all such cells.
    """
    if line.problem:
        raise NoRowError(line.problem)
    own = {name: name for name in line.cells if is_field(name) and name not in ignore}
    found, problems = {}, []
    for field, column in (own | dict(columns)).items():
        try:
            found[field] = typed(field, line.cells[column], column)
        except NoRowError as error:
            problems.append(str(error))
    if problems:
        raise NoRowError("; ".join(problems))
    return {field: value for field, value in found.items() if value is not None}


def check_columns(table: Table, columns: Mapping[str, str], ignore: Collection[str] = ()) -> None:
    """Refuses to map, or to ignore, what is not there.

    Raises:
        SettingsError: when a field or a column of ``columns`` is unknown, or one to be ignored.
    """
    for column in ignore:
        if column not in table.columns:
            raise SettingsError(
                f"--ignore {column}: {table.source.name} has no such column"
                f"{meant(column, table.columns)}\n  it has: {', '.join(table.columns)}"
            )
    for field, column in columns.items():
        if not is_field(field):
            raise SettingsError(
                f"--map {field}={column}: {field!r} is no field"
                f"{meant(field, [*FIELDS, *HYPERPARAMETERS])}\n"
                f"  expected one of {', '.join(FIELDS)}, config.*, meta.* or signal.*"
            )
        if column not in table.columns:
            raise SettingsError(
                f"--map {field}={column}: {table.source.name} has no such column"
                f"{meant(column, table.columns)}\n  it has: {', '.join(table.columns)}"
            )


def check_hyperparameters(
    table: Table, columns: Mapping[str, str], ignore: Collection[str] = ()
) -> None:
    """Refuses columns ``config.*`` that are no hyperparameters: their values would be lost.

    Raises:
        SettingsError: when one that is not empty is neither known nor mapped.
    """
    unknown = [
        name
        for name in table.columns
        if name.startswith(CONFIG)
        and not is_field(name)
        and name not in columns.values()
        and name not in ignore
    ]
    for name in unknown:
        if any(line.cells.get(name) is not None for line in table.lines):
            raise SettingsError(
                f"{table.source.name}: its column {name!r} is no hyperparameter"
                f"{meant(name, HYPERPARAMETERS)}\n"
                "  rename it, map it (--map config.NAME=COLUMN), or pass it over (--ignore "
                f"{name})"
            )


def unused(table: Table, columns: Mapping[str, str], ignore: Collection[str] = ()) -> list[str]:
    """One sentence that lists the columns which fill no field; none when there are none."""
    names = [
        repr(name) + meant(name, [*FIELDS, *HYPERPARAMETERS])
        for name in table.columns
        if name and not is_field(name) and name not in columns.values() and name not in ignore
    ]
    return [f"columns that were not used: {', '.join(names)}"] if names else []
