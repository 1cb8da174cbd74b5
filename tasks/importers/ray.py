"""Trials of Ray Tune: a folder each, with ``params.json`` and one line of results per iteration.

``progress.csv`` or ``result.json`` hold the same lines; the last one is the outcome, and all of
them are its curve. ``*.pkl`` files are never opened, for reading one may run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tasks.history.curves import MAX_STEP
from tasks.translation.files import read_table
from tasks.translation.metrics import find_score, null_to_nan
from tasks.translation.results import UNREADABLE, ImportOptions, Items, Row, RowError, Score
from tasks.translation.sweeps import Sweep
from tasks.translation.values import finite_number, parse_literal, positive_number, read_mapping

PROGRESS, RESULTS, PARAMS, ERROR = "progress.csv", "result.json", "params.json", "error.txt"
STEP = "training_iteration"
SETTING = "config/"
OUT_OF_MEMORY = ("out of memory", "outofmemory", "oom-kill")
MOST_NESTED = 5
# Columns that Ray Tune writes itself.
RAY_COLUMNS = (
    *(STEP, "timestamp", "time_this_iter_s", "time_total_s", "time_since_restore", "pid", "date"),
    *("iterations_since_restore", "timesteps_total", "episodes_total", "checkpoint_dir_name"),
    *("timesteps_since_restore", "hostname", "node_ip", "done", "trial_id", "experiment_tag"),
    "should_checkpoint",
)

Entries = list[dict[str, Any]]


def read_ray(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every trial in a folder, or that of a ``progress.csv`` or ``result.json``."""
    base = source if source.is_dir() else source.parent
    folders = trial_folders(base)
    results: dict[Path, Entries] = {}
    for folder in folders:
        with suppress(*UNREADABLE):  # raised again, and reported, when its row is made
            results[folder] = _results(folder)
    # Schedulers end trials early; the longest one says how many iterations a whole one has.
    planned = max([1, *map(_reached, results.values())])
    sweep = Sweep(options, expected=options.shared_arguments)
    for folder in folders:
        item = folder.name if folder == base else folder.relative_to(base).as_posix()
        yield item, partial(_row, item, folder, results.get(folder), planned, sweep)
    notes += sweep.notes()


def trial_folders(source: Path) -> list[Path]:
    """Folders with parameters and results, or an error, in a fixed order."""
    return sorted(
        file.parent
        for file in source.rglob(PARAMS)
        if any((file.parent / name).is_file() for name in (PROGRESS, RESULTS, ERROR))
    )


def is_progress_table(columns: list[str]) -> bool:
    """True for the ``progress.csv`` of a trial."""
    return STEP in columns and bool({"time_total_s", "timestamp"} & set(columns))


def _results(folder: Path) -> Entries:
    """One entry per iteration; of one that was run again after a restart, the last."""
    progress, results = folder / PROGRESS, folder / RESULTS
    entries: Entries = []
    if progress.is_file() and progress.stat().st_size:
        entries = [
            {name: parse_literal(value) for name, value in line.cells.items()}
            for line in read_table(progress).lines
        ]
    elif results.is_file():
        entries = null_to_nan(_json_lines(results))
    steps: dict[int, dict[str, Any]] = {}
    for count, entry in enumerate(entries, start=1):
        step = finite_number(entry.get(STEP)) or float(count)
        if 1 <= step <= MAX_STEP:
            steps[int(step)] = entry | {"step": int(step)}
    return [steps[step] for step in sorted(steps)]


def _json_lines(file: Path) -> Entries:
    entries = []
    for count, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            raise RowError(f"line {count} of {file.name} is not JSON") from None
        if isinstance(entry, dict):
            entries.append(_flat(entry))
    return entries


def _flat(entry: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested values under names with slashes, as ``progress.csv`` has them."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping) and depth < MOST_NESTED:
            flat |= _flat(value, f"{prefix}{name}/", depth + 1)
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _row(
    item: str, folder: Path, entries: Entries | None, planned: int, sweep: Sweep
) -> tuple[Row, Score]:
    """The row of one trial, and the metric that is its score."""
    entries = _results(folder) if entries is None else entries
    last = entries[-1] if entries else {}
    settings = {n.removeprefix(SETTING): v for n, v in last.items() if n.startswith(SETTING)}
    settings |= _flat(read_mapping(folder / PARAMS)) | sweep.options.shared_arguments
    failure = _failure(folder)
    if not entries and failure is None:
        raise RowError(f"{PROGRESS} and {RESULTS} are empty: it reported nothing")
    reached = _reached(entries)
    values: dict[str, Any] = {
        "total_steps": planned,
        "cost_seconds": positive_number(last.get("time_total_s")),
        "fraction": reached / planned,
    }
    if failure is not None:
        values |= {"state": "failed", "failure_kind": failure, "score": None}
        return sweep.row(item, settings, values)
    # What the trial itself reported, without the settings and what Ray Tune counts.
    log = [
        {n: v for n, v in entry.items() if n not in RAY_COLUMNS and not n.startswith(SETTING)}
        for entry in entries
    ]
    names = {name for entry in log for name in entry} - {"step"}
    metric, sign = find_score(names, sweep.options.score, anywhere=True)
    values["state"] = "stopped" if reached < planned else "completed"
    score = metric, -1.0 if sweep.options.minimize else sign
    return sweep.row(item, settings, values, log, score)


def _reached(entries: Entries) -> int:
    return int(entries[-1]["step"]) if entries else 0


def _failure(folder: Path) -> str | None:
    """The kind of a trial's failure, by its ``error.txt``; None where there is none."""
    file = folder / ERROR
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(1_000_000).lower()
    return "out_of_memory" if any(word in text for word in OUT_OF_MEMORY) else "error"
