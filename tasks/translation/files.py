"""Files of tables: CSV, whose cells stay text, and parquet, whose cells have types."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
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
    """A CSV, whose cells stay text, or parquet file; a SettingsError if it is broken or empty."""
    table = _parquet(source) if source.suffix.lower() == PARQUET else _csv(source)
    if not table.lines:
        found = "has no lines below its header" if table.columns else "is empty"
        raise SettingsError(f"{source} {found}")
    return table


def _parquet(source: Path) -> Table:
    frame = read_parquet(source)
    problem = str(frame.pop(READ_ERROR).iloc[0]) if READ_ERROR in frame and len(frame) else None
    frame = frame.astype(object).where(frame.notna(), None)
    lines = [Line(f"row {n}", row, problem) for n, row in enumerate(records(frame), start=1)]
    return Table(source, list(frame.columns), lines)


def _csv(source: Path) -> Table:
    limit = csv.field_size_limit(sys.maxsize)  # a curve is one long cell
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=detect_delimiter(first))
            header = next((cells for cells in reader if any(cells)), [])
            names = _distinct([unescape_formulas(name.strip()) for name in header])
            return Table(source, names, list(_lines(reader, names)))
    except UnicodeError:
        raise SettingsError(
            f"{source} is not in UTF-8: save it as UTF-8 (in a spreadsheet: CSV UTF-8) and import "
            "it again"
        ) from None
    except (csv.Error, OSError) as error:
        raise SettingsError(f"{source} cannot be read as a table: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _lines(reader: Any, names: list[str]) -> Iterator[Line]:
    start = reader.line_num + 1
    for cells in reader:
        place, start = f"line {start}", reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        problem = None
        if len(cells) > len(names) and any(cells[len(names) :]):
            problem = f"it has {len(cells)} cells, where the header has {len(names)}"
        padded = [*cells, *[""] * (len(names) - len(cells))]
        values = [unescape_formulas(cell) or None for cell in padded]
        yield Line(place, dict(zip(names, values, strict=False)), problem)


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
