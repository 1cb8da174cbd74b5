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
        imported.attempt(item, _line, name, line, shared, target, imported.metrics, same)
    return imported


def _line(
    name: str,
    line: Line,
    shared: dict[str, Any],
    target: Target,
    metrics: Counter[tuple[str, float]],
    same: Counter[str],
) -> dict[str, Any]:
    """The row of a line, under its id; names need not be unique, so what is in it is added."""
    row = _row(name, line, shared, target, metrics)
    return row if line.cells.get("ID") else number_by_content(row, same)


def _row(
    item: str,
    line: Line,
    shared: dict[str, Any],
    target: Target,
    metrics: Counter[tuple[str, float]],
) -> dict[str, Any]:
    raw = line.cells
    status = str(raw.get("State") or "finished").lower()
    if status in UNFINISHED:
        raise NoRowError(f"its state is {status}")
    values = {_plain(name): parsed(value) for name, value in raw.items()}
    own = mapped(line, target.columns)
    if "score" in own and any(name.startswith("config.") for name in own):
        metrics[score_column(target)] += 1
        return table_row(item, own, target)  # all is said by the columns
    step = positive(values.get("global_step")) or positive(values.get("_step")) or 1
    summary = {name: value for name, value in values.items() if number(value) is not None}
    runtime = values.get("train_runtime") or values.get("Runtime") or values.get("_runtime")
    log = [{**summary, "step": int(step), "train_runtime": runtime}]
    metric = score_column(target) if "score" in own else None
    if metric:  # the column is taken as it is, whatever its name is
        log[0]["eval_score"] = own.pop("score")
        target = replace(target, score="eval_score")
    config = {name: own.pop(name) for name in list(own) if name.startswith("config.")}
    # The summary is the last value of everything: a curve of one point tells nothing.
    own |= config | {"curve": ""}
    run = Run(item, values | shared, log, interrupted=status == "killed", values=own)
    found: Counter[tuple[str, float]] = Counter()
    row = row_of(run, target, found)
    metrics.update([metric] if metric else found)
    return row


def _plain(name: str) -> str:
    """Names of transformers' arguments and values, without the groups that W&B puts them in."""
    for prefix in ("config.", "config/", "summary.", "summary/", "args/", "train/"):
        name = name.removeprefix(prefix)
    return name
