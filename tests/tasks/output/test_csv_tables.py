"""No cell of a table that is written becomes a formula, and every cell comes back as it was."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.output.csv_tables import escape_formulas, read_csv, unescape_formulas, write_csv

ATTACKS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|'x'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    "'=1",
    "\uff1d1",
    "\n=1",
    ";=1",
    "a; =cmd|' /C calc'!A0",
    'a;"=1"',
    "a;'=1",
    "a\t@SUM(1);-2+3",
    "a\n-cmd|'x'!A0",
    "a;\uff1d1",
    "a;-5 and =1;+b",
]
START = ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_that_a_spreadsheet_runs_is_marked(tmp_path, attack):
    write_csv(pd.DataFrame({"a": [attack, "b"], attack: [1, 2]}), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not any(cell.lstrip(" ").startswith(START) for cell in cells)
    # As a spreadsheet reads it that separates cells otherwise and knows no quotes.
    text = (tmp_path / "t.csv").read_bytes().decode("utf-8")
    parts = re.split(r"[;\t\r\n]", text)
    assert not any(part.lstrip(' "').startswith((*START, "\uff1d")) for part in parts)
    back = read_csv(tmp_path / "t.csv")
    assert back["a"].tolist() == [attack, "b"]
    assert back.columns.tolist() == ["a", attack]


@pytest.mark.parametrize("number", ["-0.5", "+3", "-1e-05", "-inf"])
def test_numbers_stay_numbers(tmp_path, number):
    table = pd.DataFrame({"text": [number], "value": [float(number)], "mixed": [None]})
    write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1].split(",")[0] == number
    assert read_csv(tmp_path / "t.csv")["value"].tolist() == [float(number)]


@pytest.mark.parametrize("text", ["from 3;-5;+0.25", "a; -5", "a - b; c = d", "x, -y"])
def test_ordinary_text_with_separators_stays(text):
    assert escape_formulas(text) == text


@given(st.text() | st.text(alphabet=";\t\n\r'\" =+-@5.ae"))
def test_any_text_comes_back(text):
    marked = escape_formulas(text)
    assert unescape_formulas(marked) == text
    if marked.lstrip(" ").startswith(START):
        float(marked)  # nothing but a number may begin like this


def test_tables_are_written_in_one_place():
    """Whoever writes a table calls the gate."""
    root = Path(__file__).parents[3]
    writers = [
        file.relative_to(root).as_posix()
        for folder in ("tasks", "flows", "surrogates", "trials", "benchmarks")
        for file in (root / folder).rglob("*.py")
        # Not where a message tells somebody to write one.
        if re.search(r"\.to_csv\((?![\".])|csv\.writer|DictWriter", file.read_text("utf-8"))
    ]
    assert writers == ["tasks/output/csv_tables.py"]
