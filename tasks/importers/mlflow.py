"""MLflow's local stores, the files of ``mlruns/`` and the database, read without MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.importers import mlflow_database
from tasks.translation.common import (
    Imported,
    NoRowError,
    Target,
    diverged_at,
    is_not_finite,
    number,
    parsed,
    read_mapping,
)
from tasks.translation.runs import Run, row_of
from trials.io.errors import SettingsError

# How the enumeration of statuses is written; names are written by some versions.
STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


def import_mlflow(source: Path, target: Target) -> Imported:
    """Imports every run below a folder: a store, an experiment, or one run."""
    shared = read_mapping(target.config) if target.config else {}
    imported = Imported()
    if file := mlflow_database.database_of(source):
        for run, line in mlflow_database.runs_of(file):
            imported.attempt(run, _stored_row, file, run, line, shared, target, imported.metrics)
    for folder in run_folders(source) if source.is_dir() else []:
        imported.attempt(folder.name, _row, folder, shared, target, imported.metrics)
    return imported


def _stored_row(
    file: Path,
    run: str,
    line: Mapping[str, Any],
    shared: dict[str, Any],
    target: Target,
    metrics: Counter[tuple[str, float]],
) -> dict[str, Any]:
    arguments, log = mlflow_database.contents(file, run)
    return row_of(finished_run(run, line, arguments | shared, log), target, metrics)


def _row(
    folder: Path, shared: dict[str, Any], target: Target, metrics: Counter[tuple[str, float]]
) -> dict[str, Any]:
    return row_of(read_run(folder, shared), target, metrics)


def run_folders(source: Path) -> list[Path]:
    """Folders of runs, those with ``meta.yaml`` and ``params`` or ``metrics``, in a fixed order.

    A logged model, which MLflow 3 keeps in ``models/m-*``, has all of these and is no run.
    """
    return sorted(
        file.parent
        for file in source.rglob("meta.yaml")
        if ((file.parent / "metrics").is_dir() or (file.parent / "params").is_dir())
        and not _is_model(file)
    )


def _is_model(meta: Path) -> bool:
    try:
        return "model_id" in read_mapping(meta)
    except SettingsError:  # broken: told when it is read as a run
        return meta.parent.parent.name == "models"


def read_run(folder: Path, shared: dict[str, Any]) -> Run:
    """One run, from its folder; ``shared`` arguments go before its own.

    Raises:
        NoRowError: when it was deleted, failed, or goes on still.
        SettingsError: when a file is broken.
    """
    arguments = _params(folder / "params") | shared
    meta = read_mapping(folder / "meta.yaml")
    return finished_run(folder.name, meta, arguments, _metrics(folder / "metrics"))


def finished_run(
    item: str, meta: Mapping[str, Any], arguments: Mapping[str, Any], log: list[dict[str, Any]]
) -> Run:
    """A run of either store, from what is recorded of it.

    Args:
        item: its id.
        meta: of the run: status, stage of its life, times in milliseconds.
        arguments: it was run with.
        log: entries with a ``step``.

    Raises:
        NoRowError: when it was deleted, failed in a way that is not known, or goes on still.
    """
    if meta.get("lifecycle_stage", "active") != "active":
        raise NoRowError(f"its lifecycle stage is {meta['lifecycle_stage']}")
    status = STATUSES.get(meta.get("status", 0), str(meta.get("status")))
    diverged = status == "FAILED" and diverged_at(log) is not None
    if status in ("FAILED", "RUNNING", "SCHEDULED") and not diverged:
        why = "failed, and why is not recorded" if status == "FAILED" else "is not finished"
        raise NoRowError(f"its status is {status}: it {why}")
    start, end = number(meta.get("start_time")), number(meta.get("end_time"))
    if start is not None and end is not None:
        log.insert(0, {"train_runtime": (end - start) / 1000})  # kept in milliseconds
    return Run(
        item=item,
        arguments=arguments,
        log=log,
        interrupted=status == "KILLED",
    )


def _params(folder: Path) -> dict[str, Any]:
    """One file a parameter; a slash in its name is a folder."""
    return {
        file.relative_to(folder).as_posix(): parsed(file.read_text(encoding="utf-8"))
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """One file a metric, with lines of time, value and step; joined to one entry a step."""
    steps: dict[int, dict[str, Any]] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        name = file.relative_to(folder).as_posix()
        for line in file.read_text(encoding="utf-8").splitlines():
            parts = line.split()
            if len(parts) < 2:
                continue
            value = parts[1] if is_not_finite(parts[1]) else number(parts[1])
            step = number(parts[2]) if len(parts) > 2 else 0.0
            if value is not None and step is not None:
                steps.setdefault(int(step), {"step": int(step)})[name] = value
    return [entry for _, entry in sorted(steps.items())]
