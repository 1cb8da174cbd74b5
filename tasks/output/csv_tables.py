"""CSV files in which no cell becomes a formula; all tables are written here.

A spreadsheet treats text that begins with =, +, - or @ as a formula, and may run a command in it.
Such text gets a leading apostrophe, which spreadsheets themselves use to mark text; numbers stay
numbers. The same goes for text after a character that separates cells elsewhere: a spreadsheet that
separates by semicolons ignores quotes within a cell. Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

MARK = "'"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Behind these, spaces and quotes, another cell may begin; a number alone is no formula there, too.
NUMBER = r"[+-][\d.]+\s*(?:[;\t\r\n]|$)"
INNER = rf"[ '\"]*(?!{NUMBER})[=+\-@\uff1d\uff0b\uff0d\uff20]"
BEGINS = re.compile(rf"([;\t\r\n])(?={INNER})")
MARKED = re.compile(rf"([;\t\r\n]){MARK}(?={INNER})")


def write_csv(table: pd.DataFrame, file: Path, float_format: str | None = None) -> None:
    """Writes a table without its index, in UTF-8, with line feeds.

    Args:
        table: to write; text in it and in its header is escaped.
        file: that is replaced; its folder is made.
        float_format: of numbers with a point; None keeps all digits.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    neutral = table.rename(columns=escape_formulas)
    returns = any("\r" in str(name) for name in neutral)
    for place in range(neutral.shape[1]):
        values = neutral.iloc[:, place]
        if not pd.api.types.is_numeric_dtype(values) and not values.empty:
            cells = [escape_formulas(value) for value in values.to_numpy(dtype=object)]
            returns |= any(isinstance(cell, str) and "\r" in cell for cell in cells)
            neutral.isetitem(place, np.array([*cells, None], dtype=object)[:-1])
    # A carriage return outside quotes begins a line, and so a cell.
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    neutral.to_csv(
        file, index=False, float_format=float_format, lineterminator="\n", quoting=quoting
    )


def read_csv(file: Path, **options: Any) -> pd.DataFrame:
    """A table that `write_csv` wrote, its text as it was; ``options`` are those of pandas."""
    table = pd.read_csv(file, **options).rename(columns=unescape_formulas)
    texts = [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]
    for column in texts:
        table[column] = table[column].map(unescape_formulas).astype(table[column].dtype)
    return table


def escape_formulas(value: Any) -> Any:
    """A cell that no spreadsheet runs; anything but text is returned unchanged."""
    if not isinstance(value, str):
        return value
    inside = BEGINS.sub(rf"\1{MARK}", value)
    return f"{MARK}{inside}" if _is_formula(inside) else inside


def unescape_formulas(value: Any) -> Any:
    """The inverse of `escape_formulas`, for cells read from a file written with it."""
    if not isinstance(value, str):
        return value
    marked = value.startswith(MARK) and _is_formula(value[1:])
    return MARKED.sub(r"\1", value[1:] if marked else value)


def _is_formula(text: str) -> bool:
    bare = text.lstrip(f"{MARK} ")
    if not bare.startswith(FORMULA):
        return False
    try:
        float(bare)
    except ValueError:
        return True
    return bare != bare.strip()  # a number alone is none; a tab before it is no part of one
