"""MLflow's store in an SQLite database, its default since version 3.7; opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tasks.importers.named import read_only, tables_of
from tasks.translation.common import NoRowError, number, parsed
from trials.io.errors import SettingsError

DATABASE = "mlflow.db"
TABLES = {"runs", "params", "metrics"}
MOST_POINTS = 1_000_000  # of one run


def database_of(source: Path) -> Path | None:
    """The database of a file or of a folder; None where there is none of MLflow."""
    file = source / DATABASE if source.is_dir() else source
    return file if file.is_file() and tables_of(file) >= TABLES else None


def runs_of(file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Ids and lines of all runs, in the order of the ids.

    Raises:
        SettingsError: when the database cannot be read.
    """
    try:
        with closing(_opened(file)) as base:
            rows = base.execute("select * from runs order by run_uuid").fetchall()
    except sqlite3.Error as error:
        raise SettingsError(
            f"{file} cannot be read as a database of MLflow: {error}\n"
            "  stop what writes it, or write its runs to a table with "
            "mlflow.search_runs().to_csv(...) and import that"
        ) from None
    return [(str(row["run_uuid"]), dict(row)) for row in rows]


def contents(file: Path, run: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Arguments and log of one run, an entry a step.

    Raises:
        NoRowError: when they cannot be read.
    """
    try:
        with closing(_opened(file)) as base:
            params = base.execute("select key, value from params where run_uuid = ?", (run,))
            arguments = {str(row["key"]): parsed(row["value"]) for row in params}
            return arguments, _log(base, run)
    except sqlite3.Error as error:
        raise NoRowError(f"cannot be read: {error}") from None


def _log(base: sqlite3.Connection, run: str) -> list[dict[str, Any]]:
    steps: dict[int, dict[str, Any]] = {}
    query = (
        "select key, value, step, is_nan from metrics where run_uuid = ? order by step, timestamp"
    )
    for count, row in enumerate(base.execute(query, (run,))):
        if count >= MOST_POINTS:
            raise NoRowError(f"it has more than {MOST_POINTS:,} values")
        step = int(number(row["step"]) or 0)
        value = float("nan") if row["is_nan"] else row["value"]
        steps.setdefault(step, {"step": step})[str(row["key"])] = value
    return [entry for _, entry in sorted(steps.items())]


def _opened(file: Path) -> sqlite3.Connection:
    base = sqlite3.connect(read_only(file), uri=True, timeout=10)
    base.row_factory = sqlite3.Row
    return base
