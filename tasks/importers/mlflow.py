"""MLflow's local stores, read without MLflow: the files of ``mlruns/``, and the SQLite database.

The database is MLflow's default since version 3.7; it is opened for reading only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tasks.importers.unsupported import read_only_uri, sqlite_tables
from tasks.translation.cells import parse_cell
from tasks.translation.metrics import divergence_step
from tasks.translation.results import ImportOptions, Items, Row, RowError, Score
from tasks.translation.runs import RecordedRun, run_row
from tasks.translation.values import finite_number, is_nonfinite, parse_literal, read_mapping
from trials.io.errors import SettingsError

DATABASE = "mlflow.db"
TABLES = {"runs", "params", "metrics"}
MAX_POINTS = 1_000_000  # of one run
METRICS = "select step, key, value, is_nan from metrics where run_uuid = ? order by step, timestamp"
# The enumeration of statuses; some versions write their names.
STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}

Log = list[dict[str, Any]]
Record = tuple[Mapping[str, Any], dict[str, Any], Log]
"""Description of a run, its arguments, and its log with an entry for each step."""


def read_mlflow(source: Path, options: ImportOptions, notes: list[str]) -> Items:
    """Every run of a store, an experiment or one run; a SettingsError for a broken database."""
    if file := find_database(source):
        for meta in _database_runs(file):
            run = str(meta["run_uuid"])
            yield run, partial(_row, run, partial(_read_database, file, meta), options)
    for folder in run_folders(source) if source.is_dir() else []:
        yield folder.name, partial(_row, folder.name, partial(_read_folder, folder), options)


def find_database(source: Path) -> Path | None:
    """The database of a file or of a folder; None where there is none of MLflow."""
    file = source / DATABASE if source.is_dir() else source
    return file if file.is_file() and sqlite_tables(file) >= TABLES else None


def run_folders(source: Path) -> list[Path]:
    """Folders of runs, those with ``meta.yaml`` and ``params`` or ``metrics``, in a fixed order.

    A logged model, which MLflow 3 keeps in ``models/m-*``, has all of these and is not a run.
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
    except SettingsError:  # broken, which reading it as a run reports
        return meta.parent.parent.name == "models"


def _row(item: str, read: Callable[[], Record], options: ImportOptions) -> tuple[Row, Score]:
    """The row of a run, unless it was deleted, failed for no known reason, or still runs."""
    meta, arguments, log = read()
    if meta.get("lifecycle_stage", "active") != "active":
        raise RowError(f"its lifecycle stage is {meta['lifecycle_stage']}")
    status = meta.get("status", 0)
    state = parse_cell("state", STATUSES.get(status, status))
    if state == "failed" and divergence_step(log) is None:
        raise RowError("its status is FAILED, and why is not recorded")
    start, end = finite_number(meta.get("start_time")), finite_number(meta.get("end_time"))
    if start is not None and end is not None:
        log.insert(0, {"train_runtime": (end - start) / 1000})  # kept in milliseconds
    return run_row(RecordedRun(item, arguments, log, interrupted=state == "stopped"), options)


def _read_folder(folder: Path) -> Record:
    """A run of the file store: a file for each parameter or metric."""
    arguments = {name: parse_literal(text) for name, text in _texts(folder / "params")}
    return read_mapping(folder / "meta.yaml"), arguments, _by_step(_file_points(folder / "metrics"))


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and contents of files; a slash in a name is a folder."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8")


def _file_points(folder: Path) -> Iterator[tuple[int, str, Any]]:
    """Steps, names and values of metrics, from lines of time, value and step."""
    for name, text in _texts(folder):
        for line in text.splitlines():
            _, value, step, *_ = [*line.split(), None, None, None]
            at = 0.0 if step is None else finite_number(step)
            number = value if is_nonfinite(value) else finite_number(value)
            if number is not None and at is not None:
                yield int(at), name, number


def _by_step(points: Iterable[tuple[int, str, Any]]) -> Log:
    """One entry for each step, in their order."""
    entries: dict[int, dict[str, Any]] = {}
    for step, name, value in points:
        entries.setdefault(step, {"step": step})[name] = value
    return [entry for _, entry in sorted(entries.items())]


def _database_runs(file: Path) -> list[dict[str, Any]]:
    try:
        with closing(_opened(file)) as base:
            return [dict(row) for row in base.execute("select * from runs order by run_uuid")]
    except sqlite3.Error as error:
        raise SettingsError(
            f"{file} cannot be read as a database of MLflow: {error}\n"
            "  stop what writes it, or write its runs to a table with "
            "mlflow.search_runs().to_csv(...) and import that"
        ) from None


def _read_database(file: Path, meta: Mapping[str, Any]) -> Record:
    run = str(meta["run_uuid"])
    try:
        with closing(_opened(file)) as base:
            params = base.execute("select key, value from params where run_uuid = ?", (run,))
            arguments = {str(row["key"]): parse_literal(row["value"]) for row in params}
            points = base.execute(METRICS, (run,)).fetchmany(MAX_POINTS + 1)
    except sqlite3.Error as error:
        raise RowError(f"cannot be read: {error}") from None
    if len(points) > MAX_POINTS:
        raise RowError(f"it has more than {MAX_POINTS:,} values")
    log = _by_step(
        (int(finite_number(step) or 0), str(key), float("nan") if is_nan else value)
        for step, key, value, is_nan in points
    )
    return meta, arguments, log


def _opened(file: Path) -> sqlite3.Connection:
    base = sqlite3.connect(read_only_uri(file), uri=True, timeout=10)
    base.row_factory = sqlite3.Row
    return base
