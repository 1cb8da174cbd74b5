"""Which history rows can be learned from; the others are put aside with the reason.

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

from tasks.history.doubts import changed_inputs, doubts
from tasks.history.expectations import ROW, load_suite, run_suite, unexpected_rows, write_data_docs
from tasks.history.packed import curve_problems, timeline_problems
from tasks.history.rows import DEFAULTS, DOUBT, append_history, read_history, records, write_parquet
from tasks.output.escape import printable
from tasks.sync.lock import history_lock
from trials.io.errors import HyperparameterError, SettingsError
from trials.spec.hyperparameters import is_unset, validate

SUITE = "history"
QUARANTINE = "quarantine"
REASON = "reason"
CONFIG = "config."
# Of the suite; a row whose types are wrong is not asked for anything else.
TYPES = "expect_column_values_to_be_in_type_list"
SEVERAL = ("mixed", "mixed-integer")
NUMBERS = ("integer", "floating", "mixed-integer-float")
LONGEST_REASON = 1000  # characters
UNORDERED = (list, dict, set, np.ndarray, complex, np.complexfloating)
HALF = re.compile("[\ud800-\udfff]")  # of a character that takes two numbers in UTF-16
NO_CELL = object()  # in place of what has no order, which no cell of the suite's columns may be

log = logging.getLogger(__name__)


def check_history(rows: pd.DataFrame, one_run: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parts the rows into good and bad ones; together they are all rows.

    Args:
        rows: in the form of data/history/README.md; a column that is missing counts as empty.
        one_run: whether all are trials of one run, on the same data and from the same weights.

    Returns:
        Good rows, and bad rows with the column ``reason``: all reasons, joined by semicolons.
    """
    if rows.empty:
        return rows, rows.assign(**{REASON: pd.Series(dtype=str)})
    reasons: dict[int, list[str]] = defaultdict(list)
    rows = rows.drop(columns=REASON, errors="ignore").reset_index(drop=True)
    rows = _plain(_escaped(rows, reasons))
    if DOUBT in rows:
        for number, doubt in rows.pop(DOUBT).dropna().items():
            reasons[int(str(number))].append(str(doubt))
    for number, found in changed_inputs(rows).items() if one_run else ():
        reasons[number] += found
    copies = rows.assign(**_texts(rows)).duplicated()
    again = _known_before(rows) & ~copies
    for number in rows.index[copies]:
        reasons[int(number)].append("a copy of a row before it")
    for number in rows.index[again]:
        reasons[int(number)].append("trial_id is that of a row before it")
    seen = suite_frame(rows[~copies & ~again & ~rows.index.isin(list(reasons))])
    _add(reasons, run_suite(seen, load_suite(SUITE, lambda kind: kind == TYPES)))
    typed = _typed(seen[~seen[ROW].isin(reasons)])
    if len(typed):
        _add(reasons, run_suite(typed, load_suite(SUITE, lambda kind: kind != TYPES)))
    _add_cells(reasons, rows.loc[typed[ROW]])
    for number, found in doubts(rows.loc[[n for n in typed[ROW] if not reasons.get(n)]]).items():
        reasons[number] += found
    bad = pd.Series([bool(reasons.get(number)) for number in rows.index], index=rows.index)
    joined = [_joined(reasons[number]) for number in rows.index[bad]]
    return rows[~bad].reset_index(drop=True), rows[bad].assign(**{REASON: joined})


def suite_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that the suite speaks of, missing ones empty, and the column ``row``."""
    frame = pd.DataFrame(index=rows.index)
    expectations = load_suite(SUITE).expectations
    numbers = {each.column for each in expectations if "float" in getattr(each, "type_list", ())}
    for expectation in expectations:
        column = expectation.column
        if column in frame:
            continue
        empty = pd.Series(None, index=rows.index, dtype=object)
        # As objects, types are looked at in every row, not once for the whole column; lists,
        # mappings and complex numbers cannot be compared, which Great Expectations does.
        values = rows[column].astype(object) if column in rows else empty
        values = values.where(values.notna(), None)
        # True is a whole number to Python.
        others = (*UNORDERED, bool, np.bool_) if column in numbers else UNORDERED
        values = values.map(lambda value, others=others: _cell(value, others))
        default = DEFAULTS.get(column)
        frame[column] = values if default is None else values.where(values.notna(), default)
    return frame.assign(**{ROW: rows.index})


def _cell(value: Any, others: tuple[type, ...]) -> Any:
    return NO_CELL if isinstance(value, others) else value


def config_problems(row: Mapping[str, Any]) -> list[str]:
    """What ``hyperparameters.validate`` refuses, unless just that is what the row reports."""
    if row.get("state") == "failed" and row.get("failure_kind") == "bad_config":
        return []
    config = {
        str(key).removeprefix(CONFIG): value
        for key, value in row.items()
        if str(key).startswith(CONFIG)
    }
    try:
        validate(config)
    except HyperparameterError as error:
        return error.problems
    return []


def append_checked(
    rows: Iterable[Mapping[str, Any]], folder: Path, name: str, one_run: bool = False
) -> tuple[Path | None, pd.DataFrame]:
    """Appends the good rows to the history and puts the bad ones into the quarantine.

    Returns:
        The history file, None when no row is good, and the bad rows with their reasons.
    """
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
        put_aside(bad, folder, file.stem if file else name)
    return file, bad


def put_aside(bad: pd.DataFrame, folder: Path, name: str) -> Path | None:
    """Writes bad rows to ``quarantine/<name>.parquet`` and says so; None if nothing is written."""
    if bad.empty:
        return None
    file = folder / QUARANTINE / f"{name}.parquet"
    written, where = True, f"see {file}"
    try:
        write_parquet(bad.assign(**_texts(bad)), file)
    except OSError as error:  # a history may be read-only; what is learned from is right
        written, where = False, f"and the quarantine {file} cannot be written: {error}"
    log.warning(
        "%d history row(s) are not learned from, %s; the first, %s: %s",
        len(bad),
        where,
        bad.iloc[0].get("trial_id"),
        bad.iloc[0][REASON],
    )
    return file if written else None


def learnable_history(files: Sequence[Path]) -> pd.DataFrame:
    """The good rows of history files; bad ones go to the quarantine beside the first file.

    Raises:
        SettingsError: when a file cannot be read, or no row is good.
    """
    rows = read_history(files)
    return set_aside(rows, files[0].parent)[0] if files else rows


def set_aside(rows: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parts rows that were read into good and bad ones; the bad ones go to the quarantine.

    Args:
        rows: of a history.
        folder: of the history, where the quarantine is.

    Raises:
        SettingsError: when there are rows and none is good.
    """
    good, bad = check_history(rows)
    put_aside(bad, folder, "read")
    if good.empty and len(rows):
        raise SettingsError(
            f"none of the {len(rows)} history rows can be learned from; the first: "
            f"{bad.iloc[0][REASON]}\n  see them all with: autopipe history check, or tune with "
            "--no-use-history"
        )
    return good, bad


def history_batch(rows: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """The rows as Great Expectations sees them, and the suite for them."""
    return _typed(suite_frame(rows.reset_index(drop=True))), load_suite(SUITE)


def write_history_docs(rows: pd.DataFrame, folder: Path) -> Path:
    """Writes Data Docs of the history suite on these rows; returns their ``index.html``."""
    return write_data_docs({SUITE: history_batch(rows)}, folder)


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of NumPy's numbers, or of objects, with None or NaN where they are empty.

    Parquet also gives pandas' own types, which take no other value, and empty times; neither those
    nor NA can be made a float.
    """
    others = {
        str(column): rows[column].astype(object).map(_none)
        for column in rows
        if not isinstance(rows[column].dtype, np.dtype) or rows[column].dtype.kind not in "biuf"
    }
    return rows.assign(**others)


def _none(value: Any) -> Any:
    empty = pd.api.types.is_scalar(value) and pd.isna(value) and not isinstance(value, float)
    return None if empty else value


def _escaped(rows: pd.DataFrame, reasons: dict[int, list[str]]) -> pd.DataFrame:
    """The rows without halves of characters, which no file can hold; adds where there were any."""
    for column in [name for name in rows if rows[name].dtype == np.dtype(object)]:
        cells = rows[column].to_list()
        halves = [number for number, cell in enumerate(cells) if _is_half(cell)]
        for number in halves:
            cells[number] = printable(cells[number])
            reasons[number].append(f"{column} is no Unicode: {cells[number]}")
        if halves:
            rows = rows.assign(**{str(column): pd.Series(cells, index=rows.index, dtype=object)})
    return rows


def _is_half(value: Any) -> bool:
    """Whether a cell has a surrogate in its text, or in the text of its list or mapping."""
    if isinstance(value, str):
        return HALF.search(value) is not None
    if isinstance(value, dict):
        return any(_is_half(each) for pair in value.items() for each in pair)
    return isinstance(value, list | tuple | set | np.ndarray) and any(map(_is_half, value))


def _known_before(rows: pd.DataFrame) -> pd.Series:
    """Whether a row before has the same trial_id: what is known of a trial already stays."""
    if "trial_id" not in rows:
        return pd.Series(False, index=rows.index)
    return rows["trial_id"].notna() & rows["trial_id"].astype(str).duplicated()


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers as floats, so that they can be compared; others stay as they are."""
    numbers = {
        column: frame[column].astype(float)
        for column in frame.columns.drop(ROW)
        if pd.api.types.infer_dtype(frame[column], skipna=True) in NUMBERS
    }
    return frame.assign(**numbers)


def _texts(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns of several types as text; they have no type in parquet, and lists cannot be compared.

    What is wrong with a bad row may be just that.
    """
    return {
        str(column): rows[column].map(lambda value: value if is_unset(value) else str(value))
        for column in rows
        if pd.api.types.infer_dtype(rows[column], skipna=True) in SEVERAL
    }


def _add_cells(reasons: dict[int, list[str]], rows: pd.DataFrame) -> None:
    """What is wrong with configurations, curves and timelines, each looked at on its own."""
    columns = [column for column in rows if str(column).startswith(CONFIG)]
    columns += [column for column in ("state", "failure_kind") if column in rows]
    for number, row in zip(rows.index, records(rows[columns]), strict=True):
        reasons[int(number)] += config_problems(row)
    if {"state", "score"} <= set(rows):
        for number in rows.index[(rows["state"] == "failed") & rows["score"].notna()]:
            reasons[int(number)].append("it has a score, though it failed")
    for column, problems in (("curve", curve_problems), ("timeline", timeline_problems)):
        if column in rows:
            for number, text in rows[column].items():
                reasons[int(str(number))] += problems(text)


def _joined(reasons: Sequence[str]) -> str:
    """All reasons of a row, each once; what a cell holds may be very long."""
    text = "; ".join(dict.fromkeys(reasons))
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def _add(reasons: dict[int, list[str]], results: Iterable[Any]) -> None:
    for result in results:
        for number in unexpected_rows(result):
            reasons[number].append(result.expectation_config.meta[REASON])
