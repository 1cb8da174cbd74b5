"""Weights & Biases: CSV exports, one line a run, and the folders that it writes beside a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.importers.named import refuse_chart
from tasks.importers.table import check_columns, mapped, score_column, unused
from tasks.importers.table import row_of as table_row
from tasks.translation.cells import CONFIG, is_field
from tasks.translation.common import (
    Imported,
    NoRowError,
    Target,
    diverged_at,
    is_not_finite,
    number,
    number_by_content,
    parsed,
    positive,
    read_mapping,
)
from tasks.translation.dialects import unwrapped
from tasks.translation.files import Line, read_table
from tasks.translation.runs import Run, row_of

SUMMARY = "wandb-summary.json"
FAILED = ("crashed", "failed")
UNFINISHED = (*FAILED, "running", "preempted", "preempting", "pending")


def import_wandb(source: Path, target: Target) -> Imported:
    """Imports every line of an export of the runs' table.

    With columns given for fields (``--map``), these go before what the arguments say.
    """
    shared = read_mapping(target.config) if target.config else {}
    if source.is_dir():
        return _import_folders(source, shared, target)
    table = read_table(source)
    refuse_chart(source, table.columns)
    check_columns(table, target.columns)
    # Where all is said by columns under our names, the others are read as no arguments.
    ours = any(n.startswith(CONFIG) and is_field(n) for n in [*table.columns, *target.columns])
    passed = {*target.ignore, "ID", "Name", "State"}
    imported = Imported(notes=unused(table, target.columns, passed) if ours else [])
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
    if status in UNFINISHED and not _diverged(line.cells, status):
        raise NoRowError(_why_not(status))
    own = mapped(line, target.columns, target.ignore)
    if "score" in own and any(column.startswith(CONFIG) for column in own):
        row = table_row(name, own, target)  # all is said by the columns
        metrics[score_column(target)] += 1
    else:
        values = {
            _plain(column): parsed(value)
            for column, value in line.cells.items()
            if column not in target.ignore
        }
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
    """A run whose log is its summary: the last value of everything.

    Raises:
        NoRowError: when it ended before its time and nothing says when.
    """
    step, planned = positive(values.get("global_step")), positive(values.get("max_steps"))
    if step is None and planned is not None and interrupted:
        raise NoRowError(
            "it ended before its time, and how far it came is not known: export the column "
            "train/global_step, too"
        )
    # W&B's own _step counts what was logged; a run that finished took all of its steps.
    step = step or planned or positive(values.get("_step")) or 1
    summary = {
        column: value
        for column, value in values.items()
        if number(value) is not None or is_not_finite(value) or isinstance(value, str)
    }
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


def run_folders(source: Path) -> list[Path]:
    """Folders with the summary of a run, in a fixed order."""
    return sorted(file.parent for file in source.rglob(SUMMARY))


def _import_folders(source: Path, shared: dict[str, Any], target: Target) -> Imported:
    imported = Imported()
    for folder in run_folders(source):
        own = folder.parent if folder.name == "files" else folder
        item = own.name if own == source else own.relative_to(source).as_posix()
        imported.attempt(item, _folder_row, item, folder, shared, target, imported.metrics)
    return imported


def _folder_row(
    item: str,
    folder: Path,
    shared: dict[str, Any],
    target: Target,
    metrics: Counter[tuple[str, float]],
) -> dict[str, Any]:
    """The row of a run, from its ``config.yaml`` and ``wandb-summary.json``."""
    config = folder / "config.yaml"
    if not config.is_file() and not shared:
        raise NoRowError("its config.yaml is not beside its summary, nor was --config given")
    settings = unwrapped(read_mapping(config)) if config.is_file() else {}
    summary = {_plain(n): v for n, v in _flat(read_mapping(folder / SUMMARY)).items()}
    values = {n: v for n, v in (settings | summary).items() if n not in target.ignore}
    told = values | shared
    if positive(told.get("max_steps")) and not positive(told.get("global_step")):
        # Nothing in the folder says whether it finished.
        raise NoRowError("how far it came is not known: its summary has no train/global_step")
    return row_of(_run(item, values, shared, {}, interrupted=False), target, metrics)


def _flat(summary: dict[str, Any]) -> dict[str, Any]:
    """Values in groups under names with slashes; of a value with several summaries the last."""
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        if not isinstance(value, dict):
            flat[name] = value
        elif "last" in value or "value" in value:
            flat[name] = value.get("last", value.get("value"))
        else:
            flat |= {f"{name}/{part}": each for part, each in value.items()}
    return flat


def _diverged(cells: Mapping[str, Any], status: str) -> bool:
    if status not in FAILED:
        return False
    return diverged_at([{_plain(name): value for name, value in cells.items()}]) is not None


def _why_not(status: str) -> str:
    """Why a run of such a state is no row, and what to do about it."""
    if status in FAILED:
        return (
            f"its state is {status}, and why is not recorded: it is imported only where its loss "
            "ends in NaN, which says that it diverged; export the column train/loss, too"
        )
    return f"its state is {status}: import the table again when it has finished"


def _plain(name: str) -> str:
    """Names of transformers' arguments and values, without the groups that W&B puts them in."""
    for prefix in ("config.", "config/", "summary.", "summary/", "args/", "train/"):
        name = name.removeprefix(prefix)
    return name
