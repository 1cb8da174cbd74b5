"""Tables that Optuna's ``study.trials_dataframe()`` was written to.

A pruned trial counts as stopped; a failed one raised an exception that the table does not name.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tasks.importers.table import check_columns, with_score_column
from tasks.translation.cells import is_field, parse_cell
from tasks.translation.files import Line, read_table
from tasks.translation.results import ImportOptions, Items, Row, RowError, Score
from tasks.translation.sweeps import Sweep
from tasks.translation.values import parse_literal, parse_seconds
from trials.io.errors import SettingsError

PARAMS, ATTRIBUTES = "params_", "user_attrs_"
STATES = {"COMPLETE": "completed", "PRUNED": "stopped", "FAIL": "failed"}


def is_study_table(columns: list[str]) -> bool:
    """True for a table of a study's trials."""
    return {"number", "state"} <= set(columns) and any(c.startswith(PARAMS) for c in columns)


def read_optuna(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every trial of a study.

    Raises:
        SettingsError: the table cannot be read, or it has several objectives and none is chosen.
    """
    table = read_table(source)
    options = with_score_column(options)
    check_columns(table, options)
    score = options.columns.get("score") or _objective(table.columns, source)
    used = {*options.columns.values(), *options.ignore, score}
    left = [c for c in table.columns if c.startswith(ATTRIBUTES) and c not in used]
    if left:
        notes.append(f"columns that were not used: {', '.join(left)}; --map can use them")
    attributes, params = (
        _with_prefix(dict.fromkeys(table.columns), prefix).keys() for prefix in (ATTRIBUTES, PARAMS)
    )
    sweep = Sweep(options, PARAMS, expected={*options.shared_arguments, *attributes} - params)
    seen: set[str] = set()
    for line in table.lines:
        item = f"trial {line.cells.get('number')}, {line.place}"
        yield item, partial(_row, line, score, sweep, seen)
    notes += sweep.notes()


def _objective(columns: list[str], source: Path) -> str:
    several = [c for c in columns if c.startswith("values_")]
    if several:
        raise SettingsError(
            f"{source}: this study has several objectives ({', '.join(several)}): say which is the "
            f"score, as --score {several[0]} (--score=-{several[0]} where lower is better)"
        )
    if "value" not in columns:
        raise SettingsError(f"{source}: it has no column value: say which is the score (--score)")
    return "value"


def _row(line: Line, score: str, sweep: Sweep, seen: set[str]) -> tuple[Row, Score]:
    options = sweep.options
    if line.problem:
        raise RowError(line.problem)
    cells = {name: cell for name, cell in line.cells.items() if name not in options.ignore}
    word = str(cells.get("state") or "").rpartition(".")[2].upper()
    if word not in STATES:
        raise RowError(f"its state is {word or 'empty'}: it is not finished")
    state = STATES[word]
    if state == "failed" and "failure_kind" not in options.columns:
        raise RowError(
            "its state is FAIL: it raised an exception, and which one is not in the table (a "
            "column that says it can be mapped: --map failure_kind=COLUMN)"
        )
    value = None if state == "failed" else parse_cell("score", cells.get(score), score)
    if value is None and state != "failed":
        raise RowError(f"{score} is empty: it was {word.lower()} before it reported a value")
    values = {
        "state": state,
        "score": -value if value is not None and options.minimize else value,
        "cost_seconds": parse_seconds(cells.get("duration")),
        "stop_rule": "pruned" if word == "PRUNED" else None,
    }
    if word == "PRUNED":
        values["fraction"] = None  # that of its last report is not in the table
    # Attributes may bear the name of a hyperparameter or an argument; mapped columns their own.
    settings = _with_prefix(cells, ATTRIBUTES) | _with_prefix(cells, PARAMS)
    settings = {name: value for name, value in settings.items() if value is not None}
    settings |= options.shared_arguments
    settings |= {c: cells.get(c) for field, c in options.columns.items() if is_field(field)}
    item = str(cells.get("number"))
    if item in seen:
        raise RowError("a trial of this number came before it")
    seen.add(item)
    return sweep.row(item, settings, values, score=(score, -1.0 if options.minimize else 1.0))


def _with_prefix(cells: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Values of the columns with a prefix, by the name behind it."""
    found = {name: cell for name, cell in cells.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): parse_literal(cell) for name, cell in found.items()}
