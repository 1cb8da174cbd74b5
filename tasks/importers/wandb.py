"""CSV exports of Weights & Biases: one line a run, with its arguments and its last values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.importers.common import (
    Imported,
    NoRowError,
    Target,
    number,
    parsed,
    positive,
    read_mapping,
)
from tasks.importers.runs import Run, row_of
from tasks.importers.table import mapped, read_table
from tasks.importers.table import row_of as table_row
from trials.errors import SettingsError

UNFINISHED = ("crashed", "failed", "running", "preempted", "preempting", "pending")


def import_wandb(source: Path, target: Target) -> Imported:
    """Imports every line of an export of the runs' table.

    With columns given for fields (``--map``), these go before what the arguments say.
    """
    shared = read_mapping(target.config) if target.config else {}
    imported = Imported()
    for line, raw in enumerate(read_table(source, target.columns), start=2):
        item = str(raw.get("ID") or raw.get("Name") or f"line-{line}")
        if raw.get("Name") and not raw.get("ID") and _has_name(imported, target, item):
            item = f"{item}-line-{line}"  # names need not be unique
        try:
            imported.add(item, _row(item, raw, shared, target))
        except (NoRowError, SettingsError) as error:
            imported.add(item, str(error))
    return imported


def _row(item: str, raw: dict[str, Any], shared: dict[str, Any], target: Target) -> dict[str, Any]:
    status = str(raw.get("State") or "finished").lower()
    if status in UNFINISHED:
        raise NoRowError(f"its state is {status}")
    values = {_plain(name): parsed(value) for name, value in raw.items()}
    own = mapped(raw, target.columns)
    if "score" in own and any(name.startswith("config.") for name in own):
        return table_row(item, own, target)  # all is said by the columns
    step = positive(values.get("global_step")) or positive(values.get("_step")) or 1
    summary = {name: value for name, value in values.items() if number(value) is not None}
    runtime = values.get("train_runtime") or values.get("Runtime") or values.get("_runtime")
    log = [{**summary, "step": int(step), "train_runtime": runtime}]
    if "score" in own:
        log[0]["eval_score"] = own.pop("score")
        target = replace(target, score="eval_score")
    config = {name: own.pop(name) for name in list(own) if name.startswith("config.")}
    run = Run(item, values | shared, log, interrupted=status == "killed", values=own | config)
    row = row_of(run, target)
    # The summary is the last value of everything: a curve of one point tells nothing.
    return row | {"curve": ""}


def _plain(name: str) -> str:
    """Names of transformers' arguments and values, without the groups that W&B puts them in."""
    for prefix in ("config.", "config/", "summary.", "summary/", "args/", "train/"):
        name = name.removeprefix(prefix)
    return name


def _has_name(imported: Imported, target: Target, item: str) -> bool:
    ids = {str(row["trial_id"]).rpartition("/")[2] for row in imported.rows}
    return item in ids | {refused.item for refused in imported.refused}
