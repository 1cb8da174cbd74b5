"""Tables that Optuna's ``study.trials_dataframe()`` was written to.

A trial that was pruned did not reach its end, and is told as stopped; what failed raised an
exception that the table does not name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tasks.importers.table import check_columns, with_score
from tasks.translation.cells import is_field, typed
from tasks.translation.common import Imported, NoRowError, Target, parsed, read_mapping, seconds_of
from tasks.translation.files import Line, read_table
from tasks.translation.settings import Sweep, settings_row
from trials.io.errors import SettingsError

PARAMS, NOTES = "params_", "user_attrs_"
STATES = {"COMPLETE": "completed", "PRUNED": "stopped", "FAIL": "failed"}


def is_optuna(columns: list[str]) -> bool:
    """Whether a table is one of a study's trials."""
    return {"number", "state"} <= set(columns) and any(c.startswith(PARAMS) for c in columns)


def import_optuna(source: Path, target: Target) -> Imported:
    """Imports every trial of a study.

    Raises:
        SettingsError: the table cannot be read, or it has several objectives and none is chosen.
    """
    shared = read_mapping(target.config) if target.config else {}
    table = read_table(source)
    target = with_score(target)
    check_columns(table, target.columns, target.ignore)
    score = target.columns.get("score") or _objective(table.columns, source)
    used = {*target.columns.values(), *target.ignore, score}
    left = [c for c in table.columns if c.startswith(NOTES) and c not in used]
    imported = Imported(
        notes=[f"columns that were not used: {', '.join(left)}; --map can use them"] if left else []
    )
    same: Counter[str] = Counter()
    noted = {name.removeprefix(NOTES) for name in table.columns if name.startswith(NOTES)}
    params = {name.removeprefix(PARAMS) for name in table.columns if name.startswith(PARAMS)}
    sweep = Sweep(target, PARAMS, passed={*shared, *noted} - params)
    for line in table.lines:
        item = f"trial {line.cells.get('number')}, {line.place}"
        imported.attempt(item, _row, line, score, shared, sweep, same)
    imported.notes += sweep.notes()
    scored = sum(row["score"] is not None for row in imported.rows)
    if scored:
        imported.metrics[score, -1.0 if target.minimize else 1.0] = scored
    return imported


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


def _row(
    line: Line, score: str, shared: dict[str, Any], sweep: Sweep, same: Counter[str]
) -> dict[str, Any]:
    target = sweep.target
    if line.problem:
        raise NoRowError(line.problem)
    cells = {name: cell for name, cell in line.cells.items() if name not in target.ignore}
    told = str(cells.get("state") or "").rpartition(".")[2].upper()
    if told not in STATES:
        raise NoRowError(f"its state is {told or 'empty'}: it is not finished")
    state = STATES[told]
    own = {f for f in target.columns if f in ("failure_kind", "fraction")}
    if state == "failed" and "failure_kind" not in own:
        raise NoRowError(
            "its state is FAIL: it raised an exception, and which one is not in the table (a "
            "column that says it can be mapped: --map failure_kind=COLUMN)"
        )
    value = None if state == "failed" else typed("score", cells.get(score), score)
    if value is None and state != "failed":
        raise NoRowError(f"{score} is empty: it was {told.lower()} before it reported a value")
    values = {
        "state": state,
        "score": None if value is None else (-value if target.minimize else value),
        "cost_seconds": seconds_of(cells.get("duration")),
        "stop_rule": "pruned" if told == "PRUNED" else None,
    }
    if told == "PRUNED":
        values["fraction"] = None  # that of its last report is not in the table
    settings = {**_settings(cells), **shared, **_mapped(cells, target)}
    item = str(cells.get("number"))
    same[item] += 1
    if same[item] > 1:
        raise NoRowError("a trial of this number came before it")
    return settings_row(item, settings, values, sweep)


def _settings(cells: dict[str, Any]) -> dict[str, Any]:
    """Parameters, and attributes that bear the name of a hyperparameter or an argument."""
    notes = {n.removeprefix(NOTES): parsed(v) for n, v in cells.items() if n.startswith(NOTES)}
    params = {n.removeprefix(PARAMS): parsed(v) for n, v in cells.items() if n.startswith(PARAMS)}
    return {k: v for k, v in (notes | params).items() if v is not None}


def _mapped(cells: dict[str, Any], target: Target) -> dict[str, Any]:
    """Columns that the user named, under their own names."""
    return {c: cells.get(c) for f, c in target.columns.items() if is_field(f)}
