"""Tables as files: delimiters, encodings and lines that do not fit."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.translation.files import detect_delimiter, read_table
from trials.io.errors import SettingsError


@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), (";", "CSV"), ("\t", "tsv")])
def test_the_delimiter_is_found(tmp_path, delimiter, suffix):
    file = tmp_path / f"t.{suffix}"
    file.write_text(f'score{delimiter}"a,b;c"\n0.5{delimiter}1\n', encoding="utf-8-sig")
    table = read_table(file)
    assert table.columns == ["score", "a,b;c"]
    assert [(line.place, line.cells) for line in table.lines] == [
        ("line 2", {"score": "0.5", "a,b;c": "1"})
    ]
    assert detect_delimiter("score") == ","


def test_places_are_those_of_an_editor(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('a,b\n\n1,"two\nlines"\n2,\n3,4,5\n')
    lines = read_table(file).lines
    assert [line.place for line in lines] == ["line 3", "line 5", "line 6"]
    assert lines[1].cells == {"a": "2", "b": None}
    assert lines[2].problem == "it has 3 cells, where the header has 2"


def test_a_long_curve_fits_into_a_cell(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(f"curve\n{'x' * 300_000}\n")
    assert len(read_table(file).lines[0].cells["curve"]) == 300_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("score,größe\n".encode("latin-1"), "save it as UTF-8"),
        ("score,lr\n0.5,1\n".encode("utf-16"), "save it as UTF-8"),
        (b"", "is empty"),
        (b"score,lr\n", "no lines below its header"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path, content, reason):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        read_table(file)


def test_a_parquet_file_with_a_column_twice_refuses_its_rows(tmp_path):
    table = pa.table({"score": [0.5]}).append_column("score", pa.array([0.9]))
    pq.write_table(table, tmp_path / "twice.parquet")
    [line] = read_table(tmp_path / "twice.parquet").lines
    assert line.problem == "two columns are named score"
    assert line.cells == {"score": 0.5}
