"""CSV exports of Weights & Biases: one line a run, with its arguments and its last values."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.importers.common import (
    Imported,
    NoRowError,
    Target,
    number,
    number_by_content,
    parsed,
    positive,
    read_mapping,
)
from tasks.importers.files import Line, read_table
from tasks.importers.runs import Run, row_of
from tasks.importers.table import check_columns, mapped, score_column
from tasks.importers.table import row_of as table_row

UNFINISHED = ("crashed", "failed", "running", "preempted", "preempting", "pending")


def import_wandb(source: Path, target: Target) -> Imported:
    """Imports every line of an export of the runs' table.

    With columns given for fields (``--map``), these go before what the arguments say.
    """
    shared = read_mapping(target.config) if target.config else {}
    table = read_table(source)
    check_columns(table, target.columns)
    imported = Imported()
    same: Counter[str] = Counter()
    for line in table.lines:
        name = str(line.cells.get("ID") or line.cells.get("Name") or source.stem)
        item = f"{name}, {line.place}"
        imported.attempt(item, _row, name, line, shared, target, imported.metrics, same)
    return imported


def _row(
    name: str,
    line: Line,
    shared: dict[str, Any],
    target: Target,
    metrics: Counter[tuple[str, float]],
    same: Counter[str],
) -> dict[str, Any]:
    """The row of a line, under its id; names need not be unique, so what is in it is added."""
    status = str(line.cells.get("State") or "finished").lower()
    if status in UNFINISHED:
        raise NoRowError(f"its state is {status}")
    own = mapped(line, target.columns)
    if "score" in own and any(column.startswith("config.") for column in own):
        row = table_row(name, own, target)  # all is said by the columns
        metrics[score_column(target)] += 1
    else:
        values = {_plain(column): parsed(value) for column, value in line.cells.items()}
        run = _run(name, values, shared, own, interrupted=status == "killed")
        row = _summarised(run, own, target, metrics)
    return row if line.cells.get("ID") else number_by_content(row, same)


def _run(
    name: str,
    values: dict[str, Any],
    shared: dict[str, Any],
    own: dict[str, Any],
    interrupted: bool,
) -> Run:
    """A run whose log is its summary: the last value of everything."""
    step = positive(values.get("global_step")) or positive(values.get("_step")) or 1
    summary = {column: value for column, value in values.items() if number(value) is not None}
    runtime = values.get("train_runtime") or values.get("Runtime") or values.get("_runtime")
    log = [{**summary, "step": int(step), "train_runtime": runtime}]
    # A curve of one point tells nothing.
    stated = {column: value for column, value in own.items() if column != "score"} | {"curve": ""}
    return Run(name, values | shared, log, interrupted=interrupted, values=stated)


def _summarised(
    run: Run, own: dict[str, Any], target: Target, metrics: Counter[tuple[str, float]]
) -> dict[str, Any]:
    """The row of a run; the column that was given for the score is it, whatever its name is."""
    if "score" not in own:
        return row_of(run, target, metrics)
    run = replace(run, log=[{**run.log[0], "eval_score": own["score"]}])
    row = row_of(run, replace(target, score="eval_score"), Counter())
    metrics[score_column(target)] += 1
    return row


def _plain(name: str) -> str:
    """Names of transformers' arguments and values, without the groups that W&B puts them in."""
    for prefix in ("config.", "config/", "summary.", "summary/", "args/", "train/"):
        name = name.removeprefix(prefix)
    return name
