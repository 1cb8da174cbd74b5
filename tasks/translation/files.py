"""Files of tables: CSV, whose cells stay text, and parquet, whose cells have types."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.history.rows import READ_ERROR, read_parquet, records
from tasks.output.csv_tables import unescape_formulas
from trials.io.errors import SettingsError

PARQUET = ".parquet"
SUFFIXES = (".csv", ".tsv", PARQUET)
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Line:
    """One line of a table: its place, as "line 7", its cells by column, and why it is not read."""

    place: str
    cells: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """A table: its columns in their order, and its lines."""

    source: Path
    columns: list[str]
    lines: list[Line]


def read_table(source: Path) -> Table:
    """A CSV or parquet file; cells of CSV stay text, as the field that they fill tells their type.

    Raises:
        SettingsError: when it cannot be read, or has no line.
    """
    table = _parquet(source) if source.suffix.lower() == PARQUET else _csv(source)
    if not table.lines:
        raise SettingsError(
            f"{source}: has no lines below its header" if table.columns else f"{source} is empty"
        )
    return table


def read_header(source: Path) -> list[str]:
    """The columns of a CSV file; a SettingsError when it cannot be read."""
    with _opened(source) as (_, names):
        return names


def _parquet(source: Path) -> Table:
    frame = read_parquet(source)
    problem = str(frame.pop(READ_ERROR).iloc[0]) if READ_ERROR in frame and len(frame) else None
    frame = frame.astype(object).where(frame.notna(), None)
    lines = [Line(f"row {n}", row, problem) for n, row in enumerate(records(frame), start=1)]
    return Table(source, list(frame.columns), lines)


def _csv(source: Path) -> Table:
    with _opened(source) as (reader, names):
        lines, start = [], reader.line_num + 1
        for cells in reader:
            place, start = f"line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            problem = None
            if len(cells) > len(names) and any(cells[len(names) :]):
                problem = f"it has {len(cells)} cells, where the header has {len(names)}"
            padded = [*cells, *[""] * (len(names) - len(cells))]
            cells = [unescape_formulas(cell) or None for cell in padded]
            values = dict(zip(names, cells, strict=False))
            lines.append(Line(place, values, problem))
        return Table(source, names, lines)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Any, list[str]]]:
    """The reader of a CSV file after its header, and the header."""
    limit = csv.field_size_limit(sys.maxsize)  # a curve is one long cell
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=detect_delimiter(first))
            names = next((cells for cells in reader if any(cells)), [])
            yield reader, _distinct([unescape_formulas(name.strip()) for name in names])
    except (UnicodeError, csv.Error, OSError) as error:
        if isinstance(error, UnicodeError) or (
            isinstance(error, csv.Error) and "NUL" in str(error)
        ):
            raise SettingsError(
                f"{source} is not in UTF-8: save it as UTF-8 (in a spreadsheet: CSV UTF-8) and "
                "import it again"
            ) from None
        raise SettingsError(f"{source} cannot be read as a table: {error}") from None
    finally:
        csv.field_size_limit(limit)


def detect_delimiter(first: str) -> str:
    """The separator of a header's names: the most frequent of comma, semicolon and tab."""
    outside = "".join(first.split('"')[::2])  # a quoted name may have any of them in it
    return max(DELIMITERS, key=outside.count)


def _distinct(names: list[str]) -> list[str]:
    """Names of columns, with a number after one that was there before."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        distinct.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return distinct
