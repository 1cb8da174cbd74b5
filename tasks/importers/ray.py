"""Trials of Ray Tune: a folder each, with ``params.json`` and one line of results an iteration.

``progress.csv`` or ``result.json`` hold the same lines; the last one is the outcome, and all of
them are its curve. ``*.pkl`` files are never opened, for reading one may run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.history.packed import LARGEST_STEP
from tasks.translation.common import (
    Imported,
    NoRowError,
    Target,
    find_score,
    number,
    parsed,
    read_mapping,
    with_nan,
)
from tasks.translation.files import read_table
from tasks.translation.settings import Sweep, settings_row
from trials.io.errors import SettingsError

PROGRESS, RESULTS, PARAMS, ERROR = "progress.csv", "result.json", "params.json", "error.txt"
STEP = "training_iteration"
MEMORY = ("out of memory", "outofmemory", "oom-kill")
# Columns that Ray Tune writes itself.
OWN = (
    *(STEP, "timestamp", "time_this_iter_s", "time_total_s", "time_since_restore", "pid", "date"),
    *("iterations_since_restore", "timesteps_total", "episodes_total", "checkpoint_dir_name"),
    *("timesteps_since_restore", "hostname", "node_ip", "done", "trial_id", "experiment_tag"),
    "should_checkpoint",
)


def import_ray(source: Path, target: Target) -> Imported:
    """Imports every trial in a folder, or that of a ``progress.csv`` or ``result.json``."""
    shared = read_mapping(target.config) if target.config else {}
    imported = Imported()
    base = source if source.is_dir() else source.parent
    results: dict[Path, list[dict[str, Any]]] = {}
    for folder in trial_folders(base):
        item = folder.name if folder == base else folder.relative_to(base).as_posix()
        results[folder] = _try_results(imported, item, folder)
    # A scheduler ends trials early: how many iterations a whole one has, the longest one says.
    planned = max((_reached(lines) for lines in results.values()), default=0)
    sweep = Sweep(target, passed=shared)
    for folder, lines in results.items():
        item = folder.name if folder == base else folder.relative_to(base).as_posix()
        if any(refused.item == item for refused in imported.refused):
            continue
        imported.attempt(item, _row, item, folder, lines, planned, shared, sweep, imported)
    imported.notes += sweep.notes()
    return imported


def trial_folders(source: Path) -> list[Path]:
    """Folders with parameters and results, or an error, in a fixed order."""
    return sorted(
        file.parent
        for file in source.rglob(PARAMS)
        if any((file.parent / name).is_file() for name in (PROGRESS, RESULTS, ERROR))
    )


def is_progress(columns: list[str]) -> bool:
    """Whether a table is the ``progress.csv`` of a trial."""
    return STEP in columns and bool({"time_total_s", "timestamp"} & set(columns))


def _try_results(imported: Imported, item: str, folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def read() -> dict[str, Any]:
        found.extend(_results(folder))
        return {"trial_id": item}

    imported.attempt(item, read)
    if imported.rows:
        imported.rows.pop()
    return found


def _results(folder: Path) -> list[dict[str, Any]]:
    """One entry an iteration; an iteration that was run again after a restart counts as last run.

    Raises:
        NoRowError: a line is no JSON.
    """
    progress, results = folder / PROGRESS, folder / RESULTS
    entries: list[dict[str, Any]] = []
    if progress.is_file() and progress.stat().st_size:
        entries = [
            {name: parsed(value) for name, value in line.cells.items()}
            for line in read_table(progress).lines
        ]
    elif results.is_file():
        for count, text in enumerate(results.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entry = json.loads(text)
            except (ValueError, RecursionError):
                raise NoRowError(f"line {count} of {RESULTS} is no JSON") from None
            if isinstance(entry, dict):
                entries.append(_flat(entry))
        entries = with_nan(entries)
    steps: dict[int, dict[str, Any]] = {}
    for count, entry in enumerate(entries, start=1):
        step = number(entry.get(STEP)) or float(count)
        if 1 <= step <= LARGEST_STEP:
            steps[int(step)] = entry | {"step": int(step)}
    return [steps[step] for step in sorted(steps)]


def _flat(entry: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested values under names with slashes, as ``progress.csv`` has them."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping) and depth < 5:
            flat |= _flat(value, f"{prefix}{name}/", depth + 1)
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _row(
    item: str,
    folder: Path,
    lines: list[dict[str, Any]],
    planned: int,
    shared: Mapping[str, Any],
    sweep: Sweep,
    imported: Imported,
) -> dict[str, Any]:
    target = sweep.target
    settings = {**_parameters(folder, lines), **shared}
    failure = _failure(folder)
    if not lines and failure is None:
        raise NoRowError(f"{PROGRESS} and {RESULTS} are empty: it reported nothing")
    log = [_reported(entry) for entry in lines]
    reached = _reached(lines)
    seconds = number(lines[-1].get("time_total_s")) if lines else None
    values: dict[str, Any] = {
        "total_steps": max(planned, 1),
        "cost_seconds": seconds if seconds and seconds > 0 else None,
        "fraction": reached / max(planned, 1),
    }
    if failure is not None:
        values |= {"state": "failed", "failure_kind": failure, "score": None}
        return settings_row(item, settings, values, sweep, log=[], score=("", 1.0))
    names = {name for entry in log for name in entry} - {"step"}
    score = find_score(names, target.score, anywhere=True)
    values["state"] = "stopped" if reached < planned else "completed"
    row = settings_row(item, settings, values, sweep, log=log, score=score)
    if row["score"] is not None:
        imported.metrics[score[0], -1.0 if target.minimize else score[1]] += 1
    return row


def _parameters(folder: Path, lines: list[dict[str, Any]]) -> dict[str, Any]:
    told = lines[-1] if lines else {}
    settings = {
        name.removeprefix("config/"): value
        for name, value in told.items()
        if name.startswith("config/")
    }
    try:
        return settings | _flat(read_mapping(folder / PARAMS))
    except SettingsError as error:
        raise NoRowError(str(error)) from None


def _reported(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the trial itself reported, without the settings and what Ray Tune counts."""
    return {
        name: value
        for name, value in entry.items()
        if name not in OWN and not name.startswith("config/")
    }


def _reached(lines: list[dict[str, Any]]) -> int:
    return int(lines[-1]["step"]) if lines else 0


def _failure(folder: Path) -> str | None:
    """How a trial failed, by its ``error.txt``; None where there is none."""
    file = folder / ERROR
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(1_000_000).lower()
    return "out_of_memory" if any(word in text for word in MEMORY) else "error"
