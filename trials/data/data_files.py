"""Files of rows: which of a folder holds which split, and what can be read of them.

JSON lines, a JSON array, CSV, TSV and parquet, each plain or gzipped where that makes sense, and
folders of `datasets.Dataset.save_to_disk`. What a file is, its content says. Nothing else is read:
no pickles, no loading scripts; a file that cannot be used is named for what it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from trials.io.errors import DatasetError, RowLocation
from trials.io.jsonl import read_array, read_lines
from trials.io.text_files import LONGEST_LINE, first_bytes, named, text_lines

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Names under which people keep the splits, those of `datasets` among them.
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PREFERENCES = "preferences"  # the name of their file, whatever its format
# Files that `datasets` and the hub put beside the data.
METADATA_STEMS = ("dataset_dict", "dataset_info", "dataset_infos")
READABLE = (
    "JSON lines, a JSON array, CSV, TSV (each may be gzipped), parquet, or a folder of save_to_disk"
)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
BATCH_ROWS = 1_000  # rows of a table that are made Python objects at once
MAX_TABLE_ROWS = 20_000_000  # of one table; a few bytes of parquet can stand for any number
# Fields whose cells may hold JSON in a table of texts.
JSON_COLUMNS = ("messages", "conversations")

csv.field_size_limit(LONGEST_LINE)


def split_files(path: Path) -> list[tuple[Path, Split | None]]:
    """Files (or folders of ``save_to_disk``) of a dataset and the split that each belongs to.

    A single file or table, alone or in a folder, belongs to none: its rows are split by a hash.

    Raises:
        DatasetError: when there is nothing, a split is missing, or is there in two forms.
    """
    if path.is_file() or is_saved_table(path):
        return [(path, None)]
    if not path.is_dir():
        expected = "a dataset folder, a file of rows or a name listed by `autopipe datasets`"
        raise DatasetError("no such file or folder", path=path, expected=expected)
    home = path
    found = _by_split(path)
    if not found and (path / "data").is_dir():
        inner = _by_split(path / "data")
        if inner or not _tables(path):
            home, found = path / "data", inner
    if table := _one_table(home, found):
        return [(file, None) for file in table]
    missing = [split for split in SPLITS if split not in found]
    if missing:
        names = sorted(file.name for file in path.iterdir())
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if names[12:] else "")
        raise DatasetError(
            f"{', '.join(f'{split}.jsonl' for split in missing)} missing "
            f"(found {shown or 'an empty folder'})",
            path=path,
            expected="train.jsonl, validation.jsonl and test.jsonl (or .csv, .parquet, .json), or "
            "one file of rows, which is split; dataset.yaml and preferences may lie beside it",
        )
    return [(file, split) for split in SPLITS for file in found[split]]


def find_file(folder: Path, stem: str) -> Path | None:
    """The one file of rows with a name, whatever its format; None where there is none.

    Raises:
        DatasetError: when there are several.
    """
    if not folder.is_dir():
        return None
    return _only([file for file in _files(folder) if _stem(file) == stem], stem)


def fingerprinted_files(entry: Path) -> list[Path]:
    """The files whose content is that of a file of rows or a saved table."""
    if entry.is_file():
        return [entry]
    return [*sorted(entry.glob("*.arrow")), entry / "dataset_info.json"]


def read_rows(entry: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the rows of a file or saved table, with the line (or else the row) each begins on.

    Raises:
        DatasetError: for what cannot be read, named for what it is.
    """
    if entry.is_dir():
        yield from _saved_rows(entry)
        return
    head = first_bytes(entry)
    if kind := named(head, entry):
        raise DatasetError(f"this is {kind}", path=entry, expected=READABLE)
    if head.startswith(b"PAR1"):
        yield from _parquet_rows(entry)
    elif (suffix := _suffix(entry)) in (".csv", ".tsv"):
        yield from _csv_rows(entry, head, "\t" if suffix == ".tsv" else None)
    elif suffix == ".parquet":
        raise DatasetError("this is not a parquet file", path=entry, expected=READABLE)
    elif re.match(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*\[", head):
        yield from read_array("".join(text for _, text in text_lines(entry, head)), entry)
    else:
        yield from read_lines(text_lines(entry, head), entry)


def is_saved_table(path: Path) -> bool:
    """True when this is a folder that ``datasets.Dataset.save_to_disk`` wrote."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _by_split(folder: Path) -> dict[Split, list[Path]]:
    found: dict[Split, list[Path]] = {}
    for entry in _files(folder):
        if split := SPLIT_NAMES.get(_SHARD.sub("", _stem(entry)).lower()):
            found.setdefault(split, []).append(entry)
    for split, files in found.items():
        if all(_SHARD.search(_stem(file)) for file in files):
            _check_shards(files, split)
        else:
            _only(files, split)
    return found


def _one_table(folder: Path, found: Mapping[Split, list[Path]]) -> list[Path]:
    """The one file of rows in a folder, or its shards; nothing where there are none or several."""
    # Of a lone part that was held out of something the rest is missing.
    if "validation" in found or "test" in found:
        return []
    files = _tables(folder)
    if files and all(_SHARD.search(_stem(file)) for file in files):
        names = {_SHARD.sub("", _stem(file)) for file in files}
        if len(names) > 1:
            return []
        _check_shards(files, names.pop())
        return files
    return files if len(files) == 1 else []


def _tables(folder: Path) -> list[Path]:
    """Files of a folder that may hold rows, those of preferences left out."""
    return [file for file in _files(folder) if _stem(file) not in (PREFERENCES, *METADATA_STEMS)]


def _check_shards(files: list[Path], split: str) -> None:
    """Rejects shards of which one is missing, or there twice: rows would be, too."""
    sets: dict[tuple[str, str], dict[int, Path]] = {}
    for file in files:
        number, total = _SHARD.findall(_stem(file))[0]
        shards = sets.setdefault((_SHARD.sub("", _stem(file)), total), {})
        if other := shards.get(int(number)):
            _only([other, file], split)
        shards[int(number)] = file
    _only([next(iter(shards.values())) for shards in sets.values()], split)
    [((name, total), shards)] = sets.items()
    missing = [number for number in range(int(total)) if number not in shards]
    if missing:
        first = next(iter(shards.values()))
        ending = first.name.removeprefix(_stem(first))
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise DatasetError(
            f"{name}-{missing[0]:05}-of-{total}{ending}{more} missing (found {len(shards)} of "
            f"{int(total)} shards)",
            path=first.parent,
            expected=f"all shards of {name}; fetch the others, or rename what is there if it is "
            "meant to be all",
        )


def _files(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if (entry.is_file() and _suffix(entry) in SUFFIXES) or is_saved_table(entry)
    )


def _only(files: list[Path], what: str) -> Path | None:
    if len(files) > 1:
        problem = f"{' and '.join(file.name for file in files)} are both there"
        expected = f"one file for {what}; move the others elsewhere"
        raise DatasetError(problem, path=files[0].parent, expected=expected)
    return files[0] if files else None


def _suffix(file: Path) -> str:
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _stem(file: Path) -> str:
    name = file.name[:-3] if file.name.lower().endswith(".gz") else file.name
    return name if file.is_dir() else Path(name).stem


def _csv_rows(
    file: Path, head: bytes, delimiter: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = (text for _, text in text_lines(file, head))
    first = next(lines, "")
    if delimiter is None:  # spreadsheets of half the world write semicolons
        delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    location = RowLocation(file, 1)
    try:
        for cells in reader:
            if cells and not header:
                header = _header(cells, location)
            elif cells:
                yield location.line or 1, _csv_row(header, cells, location)
            location = RowLocation(file, reader.line_num + 1)
    except csv.Error as error:
        expected = "cells with commas, quotes or line ends in double quotes"
        raise location.error(f"broken CSV: {error}", expected) from None


def _header(cells: list[str], location: RowLocation) -> list[str]:
    names = [cell.strip() for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1 and name}):
        expected = "a first line with the names of the columns, each once"
        raise location.error(f"the columns {', '.join(twice)} are there twice", expected)
    return names


def _csv_row(header: list[str], cells: list[str], location: RowLocation) -> dict[str, Any]:
    if len(cells) != len(header):
        problem = f"{len(cells)} cells, where the first line names {len(header)} columns"
        expected = "as many cells in every row; put text with commas in double quotes"
        raise location.error(problem, expected)
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    for name in JSON_COLUMNS:
        if row.get(name):
            # What is wrong with broken JSON, the check of the field says.
            with suppress(ValueError, RecursionError):
                row[name] = json.loads(row[name])
    return row


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            batches = table.iter_batches(batch_size=BATCH_ROWS)
            yield from _arrow_rows(batches, table.schema_arrow, table.metadata.num_rows, file)
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        problem = f"the parquet file cannot be read: {str(error).splitlines()[0]}"
        raise DatasetError(problem, path=file, expected="a whole parquet file") from None


def _saved_rows(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a saved table, in Arrow's own form: pictures and sounds are not decoded."""
    import pyarrow as pa
    from datasets import load_from_disk

    try:
        for part in json.loads((folder / "state.json").read_bytes())["_data_files"]:
            if Path(part["filename"]).name != part["filename"]:  # no path comes from data
                raise ValueError(f"state.json names the file {part['filename']!r}")
        table = load_from_disk(str(folder))
        batches = table.with_format("arrow").iter(batch_size=BATCH_ROWS)
        yield from _arrow_rows(batches, table.features.arrow_schema, len(table), folder)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"the folder of save_to_disk cannot be read: {error}"
        expected = "a whole folder, as datasets' save_to_disk writes it"
        raise DatasetError(problem, path=folder, expected=expected) from None


def _arrow_rows(
    batches: Iterable[Any], schema: Any, count: int, path: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The numbered rows of a table, with the names of classes that `datasets` keeps as numbers."""
    if count > MAX_TABLE_ROWS:
        expected = f"at most {MAX_TABLE_ROWS:,}"
        raise DatasetError(f"it has {count:,} rows", path=path, expected=expected)
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    labels = {
        name: feature["names"]
        for name, feature in info.get("info", {}).get("features", {}).items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
    }
    rows = (row for batch in batches for row in batch.to_pylist())
    for number, row in enumerate(rows, 1):
        for name, names in labels.items():
            if isinstance(row.get(name), int) and 0 <= row[name] < len(names):
                row[name] = names[row[name]]
        yield number, row
