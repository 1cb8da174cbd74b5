"""Checks of history rows: those that can be learned from, and the reasons against the others.

Most rules are the suite ``data/expectations/history.json``. What Great Expectations has no words
for is here: whole copies, curves, and configurations.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.history.curves import curve_problems, timeline_problems
from tasks.history.expectations import ROW, data_docs, load_suite, run_suite, unexpected_rows
from tasks.history.outliers import changed_fingerprints, find_outliers
from tasks.history.rows import (
    DEFAULTS,
    READ_ERROR,
    append_history,
    read_history,
    records,
    write_parquet,
)
from tasks.output.escape import printable
from tasks.sync.lock import history_lock
from trials.io.errors import HyperparameterError, SettingsError
from trials.spec.hyperparameters import is_unset, validate

SUITE = "history"
QUARANTINE = "quarantine"
REASON = "reason"
CONFIG = "config."
# Of the suite; other expectations are not evaluated on a row whose types are wrong.
TYPES = "expect_column_values_to_be_in_type_list"
MIXED_TYPES = ("mixed", "mixed-integer")
NUMERIC_TYPES = ("integer", "floating", "mixed-integer-float")
MAX_REASON = 1000  # characters
UNORDERED = (list, dict, set, np.ndarray, complex, np.complexfloating)
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character that takes two numbers in UTF-16
NO_CELL = object()  # in place of what has no order, which no cell of the suite's columns may be

log = logging.getLogger(__name__)


def check_history(rows: pd.DataFrame, one_run: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits the rows into good ones, and bad ones with the column ``reason``.

    A column that is missing counts as empty. With ``one_run`` all are trials of one run, on the
    same data and from the same weights.
    """
    if rows.empty:
        return rows, rows.assign(**{REASON: pd.Series(dtype=str)})
    reasons: dict[int, list[str]] = defaultdict(list)
    rows = rows.drop(columns=REASON, errors="ignore").reset_index(drop=True)
    rows = _numpy_columns(_escape_surrogates(rows, reasons))
    if READ_ERROR in rows:
        for number, problem in rows.pop(READ_ERROR).dropna().items():
            reasons[int(str(number))].append(str(problem))
    if one_run:
        _add(reasons, changed_fingerprints(rows))
    copies = rows.assign(**_mixed_as_text(rows)).duplicated()
    known = pd.Series(False, index=rows.index)
    if "trial_id" in rows:  # what is known of a trial already stays
        known = rows["trial_id"].notna() & rows["trial_id"].astype(str).duplicated() & ~copies
    _add(reasons, {number: ["a copy of a row before it"] for number in rows.index[copies]})
    _add(reasons, {n: ["trial_id is that of a row before it"] for n in rows.index[known]})
    seen = suite_frame(rows[~copies & ~known & ~rows.index.isin(list(reasons))])
    _add_results(reasons, run_suite(seen, load_suite(SUITE, lambda kind: kind == TYPES)))
    typed = _floats(seen[~seen[ROW].isin(reasons)])
    if len(typed):
        _add_results(reasons, run_suite(typed, load_suite(SUITE, lambda kind: kind != TYPES)))
    _add(reasons, _cell_problems(rows.loc[typed[ROW]]))
    _add(reasons, find_outliers(rows.loc[[n for n in typed[ROW] if not reasons.get(n)]]))
    bad = pd.Series([bool(reasons.get(number)) for number in rows.index], index=rows.index)
    joined = [_joined(reasons[number]) for number in rows.index[bad]]
    return rows[~bad].reset_index(drop=True), rows[bad].assign(**{REASON: joined})


def suite_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that the suite speaks of, missing ones empty, and the column ``row``."""
    frame = pd.DataFrame(index=rows.index)
    expectations = load_suite(SUITE).expectations
    numeric = {each.column for each in expectations if "float" in getattr(each, "type_list", ())}
    for column in dict.fromkeys(each.column for each in expectations):
        empty = pd.Series(None, index=rows.index, dtype=object)
        # As objects, types are checked in every row, not once for the whole column. Lists, mappings
        # and complex numbers cannot be compared, which Great Expectations does; to Python, True is
        # a whole number.
        values = rows[column].astype(object) if column in rows else empty
        values = values.where(values.notna(), None)
        refused = (*UNORDERED, bool, np.bool_) if column in numeric else UNORDERED
        values = values.map(lambda v, refused=refused: NO_CELL if isinstance(v, refused) else v)
        default = DEFAULTS.get(column)
        frame[column] = values if default is None else values.where(values.notna(), default)
    return frame.assign(**{ROW: rows.index})


def append_checked(
    rows: Iterable[Mapping[str, Any]], folder: Path, name: str, one_run: bool = False
) -> tuple[Path | None, pd.DataFrame]:
    """Appends the good rows to the history (None: there is none) and quarantines the bad ones."""
    rows = list(rows)
    try:
        frame = pd.DataFrame(rows)
    except UnicodeError:  # columns of text hold Unicode alone
        frame = pd.DataFrame(rows, dtype=object)
    _, bad = check_history(frame, one_run)
    # The rows as they came, not as a frame that made integers beside empty values floats.
    kept = [row for number, row in enumerate(rows) if number not in bad.index]
    with history_lock(folder):
        file = append_history(kept, folder, name) if kept else None
        quarantine(bad, folder, file.stem if file else name)
    return file, bad


def quarantine(bad: pd.DataFrame, folder: Path, name: str) -> Path | None:
    """Writes bad rows to ``quarantine/<name>.parquet`` and warns; None if nothing is written."""
    if bad.empty:
        return None
    file = folder / QUARANTINE / f"{name}.parquet"
    kept, where = True, f"see {file}"
    try:
        write_parquet(bad.assign(**_mixed_as_text(bad)), file)
    except OSError as error:  # a history may be read-only; what is learned from is right
        kept, where = False, f"and the quarantine {file} cannot be written: {error}"
    log.warning(
        "%d history row(s) are not learned from, %s; the first, %s: %s",
        len(bad),
        where,
        bad.iloc[0].get("trial_id"),
        bad.iloc[0][REASON],
    )
    return file if kept else None


def learnable_history(files: Sequence[Path]) -> pd.DataFrame:
    """The good rows of history files; bad ones go to the quarantine beside the first file.

    Raises:
        SettingsError: when a file cannot be read, or no row is good.
    """
    rows = read_history(files)
    return quarantine_bad_rows(rows, files[0].parent)[0] if files else rows


def quarantine_bad_rows(rows: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits the rows of a history into good and bad ones; the bad ones go to its quarantine.

    Raises:
        SettingsError: when there are rows and none is good.
    """
    good, bad = check_history(rows)
    quarantine(bad, folder, "read")
    if good.empty and len(rows):
        raise SettingsError(
            f"none of the {len(rows)} history rows can be learned from; the first: "
            f"{bad.iloc[0][REASON]}\n  see them all with: autopipe history check, or tune with "
            "--no-use-history"
        )
    return good, bad


def validation_batch(rows: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """The rows as Great Expectations sees them, and the suite for them."""
    return _floats(suite_frame(rows.reset_index(drop=True))), load_suite(SUITE)


def write_history_docs(rows: pd.DataFrame, folder: Path) -> Path:
    """Writes Data Docs of the history suite on these rows; returns their ``index.html``."""
    with data_docs(folder) as run:
        run(SUITE, *validation_batch(rows))
    return folder / "index.html"


def _numpy_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of NumPy's numbers, or of objects, with None or NaN where they are empty.

    Parquet also gives pandas' own types, which take no other value, and empty times; neither those
    nor NA can be made a float.
    """
    others = {
        str(column): rows[column].astype(object).map(_empty_to_none)
        for column in rows
        if not isinstance(rows[column].dtype, np.dtype) or rows[column].dtype.kind not in "biuf"
    }
    return rows.assign(**others)


def _empty_to_none(value: Any) -> Any:
    empty = pd.api.types.is_scalar(value) and pd.isna(value) and not isinstance(value, float)
    return None if empty else value


def _escape_surrogates(rows: pd.DataFrame, reasons: dict[int, list[str]]) -> pd.DataFrame:
    """The rows without halves of characters, which no file can hold; adds where there were any."""
    for column in [name for name in rows if rows[name].dtype == np.dtype(object)]:
        cells = rows[column].to_list()
        halves = [number for number, cell in enumerate(cells) if _has_surrogate(cell)]
        for number in halves:
            cells[number] = printable(cells[number])
            reasons[number].append(f"{column} is not Unicode: {cells[number]}")
        if halves:
            rows = rows.assign(**{str(column): pd.Series(cells, index=rows.index, dtype=object)})
    return rows


def _has_surrogate(value: Any) -> bool:
    """True for half a character in the text of a cell, or of its list or mapping."""
    if isinstance(value, str):
        return SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_surrogate(each) for pair in value.items() for each in pair)
    return isinstance(value, list | tuple | set | np.ndarray) and any(map(_has_surrogate, value))


def _floats(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers as floats, so that they can be compared; others stay as they are."""
    numbers = {
        column: frame[column].astype(float)
        for column in frame.columns.drop(ROW)
        if pd.api.types.infer_dtype(frame[column], skipna=True) in NUMERIC_TYPES
    }
    return frame.assign(**numbers)


def _mixed_as_text(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns of several types as text; they have no type in parquet, and lists cannot be compared.

    A mixture may be just what is wrong with a bad row.
    """
    return {
        str(column): rows[column].map(lambda value: value if is_unset(value) else str(value))
        for column in rows
        if pd.api.types.infer_dtype(rows[column], skipna=True) in MIXED_TYPES
    }


def _cell_problems(rows: pd.DataFrame) -> dict[int, list[str]]:
    """Faults of configurations, curves and timelines, each checked on its own."""
    reasons: dict[int, list[str]] = defaultdict(list)
    for number, row in zip(rows.index, records(rows), strict=True):
        problems = _config_problems(row)
        if row.get("state") == "failed" and not is_unset(row.get("score")):
            problems.append("it has a score, though it failed")
        problems += curve_problems(row.get("curve"))
        reasons[int(number)] = problems + timeline_problems(row.get("timeline"))
    return reasons


def _config_problems(row: Mapping[str, Any]) -> list[str]:
    """Problems of a row's configuration, unless the trial failed because of just these."""
    if row.get("state") == "failed" and row.get("failure_kind") == "bad_config":
        return []
    try:
        validate({n.removeprefix(CONFIG): v for n, v in row.items() if n.startswith(CONFIG)})
    except HyperparameterError as error:
        return error.problems
    return []


def _joined(reasons: Sequence[str]) -> str:
    """All reasons of a row, each once; what a cell holds may be very long."""
    text = "; ".join(dict.fromkeys(reasons))
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."


def _add(reasons: dict[int, list[str]], more: Mapping[Any, Sequence[str]]) -> None:
    for number, found in more.items():
        reasons[int(number)] += found


def _add_results(reasons: dict[int, list[str]], results: Iterable[Any]) -> None:
    for result in results:
        for number in unexpected_rows(result):
            reasons[number].append(result.expectation_config.meta[REASON])
