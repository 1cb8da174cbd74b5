"""The formats that rows are read from, and the names that everything else is given."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import ClassLabel, DatasetDict, Features, Value
from datasets import Dataset as HFDataset

from tests.trials.helpers import SIZES, sums, write_dataset, write_rows
from trials.data.data_files import read_rows, split_files
from trials.data.dataset import fingerprint, load_dataset
from trials.io.errors import DatasetError

TEXTS = [
    {"prompt": 'Say "hé, you"', "completion": "a,b;c\nsecond line", "answer": "001"},
    {"prompt": "2024-01-02", "completion": "NaN", "answer": "nan"},
    {"prompt": "null", "completion": "1e5", "answer": "  True "},
]
EXPECTED = [(row["prompt"], row["completion"], row["answer"].strip()) for row in TEXTS]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], file: Path, encoding: str, delimiter: str) -> None:
    with file.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[list[dict[str, Any]], Path], Any]] = {
    "bom.jsonl": lambda rows, file: file.write_text(lines(rows), "utf-8-sig"),
    "utf16.jsonl": lambda rows, file: file.write_text(lines(rows), "utf-16"),
    "dos.jsonl": lambda rows, file: file.write_bytes(lines(rows).replace("\n", "\r\n").encode()),
    "x.jsonl.gz": lambda rows, file: file.write_bytes(gzip.compress(lines(rows).encode())),
    "lines.json": lambda rows, file: file.write_text(lines(rows)),
    "array.json": lambda rows, file: file.write_text(json.dumps(rows)),
    "pretty.json": lambda rows, file: file.write_text(json.dumps(rows, indent=2)),
    "x.json.gz": lambda rows, file: file.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "bom.json": lambda rows, file: file.write_text(json.dumps(rows), "utf-8-sig"),
    "x.csv": lambda rows, file: table(rows, file, "utf-8", ","),
    "excel.csv": lambda rows, file: table(rows, file, "utf-8-sig", ";"),
    "utf16.tsv": lambda rows, file: table(rows, file, "utf-16", "\t"),
    "pandas.csv.gz": lambda rows, file: pd.DataFrame(rows).to_csv(file, index=False),
    "x.parquet": lambda rows, file: pd.DataFrame(rows).to_parquet(file),
    "saved": lambda rows, file: HFDataset.from_list(rows).save_to_disk(str(file)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_holds_the_same_texts(tmp_path: Path, name: str) -> None:
    WRITERS[name](TEXTS, tmp_path / name)
    rows = [row for _, row in read_rows(tmp_path / name)]
    assert [(r["prompt"], r["completion"], r["answer"].strip()) for r in rows] == EXPECTED


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".jsonl.gz", ".json"])
@pytest.mark.parametrize("held_out", ["validation", "val", "dev"])
def test_a_folder_of_splits(tmp_path: Path, suffix: str, held_out: str) -> None:
    source = load_dataset(write_dataset(tmp_path / "source"))
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = next(write for name, write in WRITERS.items() if name.endswith(suffix))
    for split in SIZES:
        rows = [json.loads(line) for line in (tmp_path / "source" / f"{split}.jsonl").open()]
        writer(rows, folder / f"{held_out if split == 'validation' else split}{suffix}")
    loaded = load_dataset(folder)
    assert loaded.splits == source.splits
    assert fingerprint(folder) == loaded.fingerprint
    name = next(folder.glob(f"train{suffix}"))
    shutil.copy(name, folder / ("train.jsonl" if suffix == ".csv" else "train.csv"))
    with pytest.raises(DatasetError, match="are both there"):
        load_dataset(folder)


def test_saved_dictionaries_and_shards_of_the_hub(tmp_path: Path) -> None:
    source = load_dataset(write_dataset(tmp_path / "source"))
    tables = {
        split: HFDataset.from_json(str(tmp_path / "source" / f"{split}.jsonl"), cache_dir=tmp_path)
        for split in SIZES
    }
    DatasetDict(tables).save_to_disk(str(tmp_path / "dict"))
    (tmp_path / "dict" / "dataset.yaml").write_text("reward: numeric\n")
    loaded = load_dataset(tmp_path / "dict")
    assert (loaded.splits, loaded.card.reward) == (source.splits, "numeric")
    arrow = next((tmp_path / "dict" / "train").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes().replace(b" + ", b" - "))
    assert fingerprint(tmp_path / "dict") != loaded.fingerprint
    hub = tmp_path / "hub" / "data"
    hub.mkdir(parents=True)
    for split, rows in tables.items():
        for part in range(2):
            half = rows.shard(2, part, contiguous=True)
            half.to_parquet(str(hub / f"{split}-{part:05}-of-00002.parquet"))
    assert load_dataset(tmp_path / "hub").splits == source.splits


def test_a_single_table_is_split_by_the_hash_as_lines_are(tmp_path: Path) -> None:
    rows = sums(100)
    plain = load_dataset(write_rows(tmp_path / "a.jsonl", rows))
    HFDataset.from_list(rows).save_to_disk(str(tmp_path / "b"))
    assert load_dataset(tmp_path / "b").splits == plain.splits


def test_named_classes_are_read_as_their_names(tmp_path: Path) -> None:
    features = Features({"prompt": Value("string"), "answer": ClassLabel(names=["no", "yes"])})
    saved = HFDataset.from_dict({"prompt": ["a", "b"], "answer": [1, 0]}, features=features)
    saved.save_to_disk(str(tmp_path / "saved"))
    saved.to_parquet(str(tmp_path / "x.parquet"))
    for entry in ("saved", "x.parquet"):
        assert [row["answer"] for _, row in read_rows(tmp_path / entry)] == ["yes", "no"]


def test_chats_of_a_table_are_read(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "1 + 2 ="}]
    rows = [{"prompt": chat, "completion": [{"role": "assistant", "content": "3"}], "answer": "3"}]
    rows += sums(99)  # type: ignore[arg-type]
    texts = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in rows]
    table(texts, tmp_path / "x.csv", "utf-8", ",")
    splits = load_dataset(tmp_path / "x.csv").splits.values()
    assert chat in [row.prompt for rows in splits for row in rows]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_dataset(folder)
    (folder / os.fsdecode(b"na\xefve.txt")).write_text("notes")
    assert load_dataset(folder).name == "caf\\udce9"
    (folder / "test.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"test\.jsonl missing") as caught:
        load_dataset(folder)
    str(caught.value).encode()  # can be written anywhere


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.jsonl", b"", "an empty file"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        ("a.csv", b"\n<!DOCTYPE html><html>", "a web page"),
        ("a.jsonl", pickle.dumps({"a": 1}), "a pickle, which is never loaded"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
        ("a.jsonl", b"SQLite format 3\0more", "SQLite"),
        ("a.jsonl", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:40], "cut short or damaged"),
        (
            "a.jsonl",
            gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0),
            "a gzip file inside another",
        ),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("a.jsonl", b"\x00\x01\x02\x03", "a binary file"),
        ("a.parquet", b"prompt,completion", "not a parquet file"),
        ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "the parquet file cannot be read"),
        ("a.json", b'[{"prompt": 1},\n 7]', "found a JSON int"),
        ("a.json", b'[{"prompt": "a"}\n{"prompt": "b"}]', "after an element"),
        ("a.json", b'[{"prompt": "a"}', "the end of the file"),
        ("a.json", b'[{"prompt": "a"}] more', "follows the end"),
        ("a.csv", b'prompt,completion\na,"b', "broken CSV"),
        ("a.csv", b"prompt,completion\na,b,c\n", "3 cells"),
        ("a.csv", b"prompt,prompt\na,b\n", "twice"),
        ("a.jsonl", b'{"prompt": NaN}', "NaN is not a JSON number"),
        ("a.jsonl", b'{"prompt": 1e999}', "beyond the largest number"),
        ("a.jsonl", b'{"prompt": ' + b"9" * 6000 + b"}", "an integer of 6,000 digits"),
        ("a.jsonl", b'{"prompt": ' + b"[" * 100_000 + b"}", "nested deeper"),
        ("a.jsonl", b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper"),
        ("a.json", b"[" * 100_000, "nested deeper"),
    ],
)
def test_what_cannot_be_read_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        list(read_rows(tmp_path / name))
    assert found in caught.value.problem
    assert caught.value.expected
    assert caught.value.path == tmp_path / name


def test_archives_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jsonl", "w") as archive:
        archive.writestr("train.jsonl", "{}")
    with pytest.raises(DatasetError, match="a zip archive"):
        load_dataset(tmp_path / "a.jsonl")
    shutil.make_archive(str(tmp_path / "b"), "gztar", tmp_path, "a.jsonl")
    with pytest.raises(DatasetError, match="a tar archive"):
        load_dataset(tmp_path / "b.tar.gz")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    array = tmp_path / "a.json"
    array.write_text(json.dumps(sums(1) * 2 + [{"prompt": "x"}], indent=1))
    with pytest.raises(DatasetError, match="completion and answer missing") as caught:
        load_dataset(array)
    assert array.read_text().splitlines()[caught.value.line - 1].strip() == "{"
    assert caught.value.line == 12
    cells = tmp_path / "a.csv"
    cells.write_text('prompt,completion,answer\n"1\n2",a,a\n\nx,,a\n')
    with pytest.raises(DatasetError, match="completion missing") as caught:
        load_dataset(cells)
    assert caught.value.line == 5


def test_no_path_comes_from_a_saved_table(tmp_path: Path) -> None:
    HFDataset.from_list(sums(9)).save_to_disk(str(tmp_path / "other"))
    HFDataset.from_list(sums(9)).save_to_disk(str(tmp_path / "saved"))
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
    (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="names the file"):
        load_dataset(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_dataset(tmp_path / "saved")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_tells_what_parts_the_cells(tmp_path: Path, delimiter: str) -> None:
    rows = [["prompt", "completion", "answer"], ["1 + 1 =", "2", "2"]]
    (tmp_path / "a.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    [(line, row)] = read_rows(tmp_path / "a.csv")
    assert (line, row) == (2, dict(zip(*rows, strict=True)))


def shards(folder: Path, names: str) -> Path:
    folder.mkdir()
    for name in [*names.split(), "validation.jsonl", "test.jsonl"]:
        (folder / name).write_text('{"prompt": "1+1", "completion": "2"}\n')
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            "train-00000-of-00003.jsonl train-00001-of-00003.jsonl",
            r"train-00002-of-00003\.jsonl missing \(found 2 of 3 shards\)",
        ),
        ("train-00002-of-00003.jsonl.gz", r"train-00000-of-00003\.jsonl\.gz and 1 more missing"),
        ("train-00000-of-00002.jsonl train-00001-of-00003.jsonl", "are both there"),
        ("train-00000-of-00001.jsonl train-00000-of-00001.csv", "are both there"),
        ("train-00000-of-00001.jsonl training-00000-of-00001.jsonl", "are both there"),
    ],
)
def test_shards_are_all_there_and_once(tmp_path: Path, names: str, found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        split_files(shards(tmp_path / "data", names))


def test_whole_sets_of_shards_are_read(tmp_path: Path) -> None:
    names = "train-00000-of-00002.jsonl train-00001-of-00002.jsonl"
    assert len(split_files(shards(tmp_path / "data", names))) == 4


# One file in a folder


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("inner", ["", "data"])
def test_one_file_in_a_folder_is_split_as_it_would_be_alone(
    tmp_path: Path, name: str, inner: str
) -> None:
    folder = tmp_path / "mine"
    (folder / inner).mkdir(parents=True)
    file = folder / inner / name
    WRITERS[name](sums(60), file)
    (folder / "dataset.yaml").write_text("name: sums\nreward: exact_match\n")
    (folder / "README.md").write_text("Sums.\n")
    write_rows(folder / "preferences.jsonl", [{"prompt": "?", "chosen": "1", "rejected": "2"}])
    alone, carded = load_dataset(file), load_dataset(folder)
    assert carded.splits == alone.splits
    assert (carded.name, carded.card.reward) == ("sums", "exact_match")
    assert alone.card.reward == "numeric"
    assert len(carded.preferences) == 1
    before = fingerprint(folder)
    (folder / "dataset.yaml").unlink()
    assert fingerprint(folder) != before
    assert load_dataset(folder).card.reward == "numeric"


@pytest.mark.parametrize(
    "names",
    ["train.jsonl", "train-00000-of-00001.jsonl", "x-00000-of-00002.jsonl x-00001-of-00002.jsonl"],
)
def test_the_shards_of_one_table_and_a_lone_training_file_are_one_file(
    tmp_path: Path, names: str
) -> None:
    for number, name in enumerate(names.split()):
        write_rows(tmp_path / name, sums(60, 60 * number))
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert {split for _, split in split_files(tmp_path)} == {None}
    assert len(load_dataset(tmp_path).splits["train"]) > 40


@pytest.mark.parametrize(
    "names",
    [
        "test.jsonl",
        "validation.csv",
        "a.jsonl b.jsonl",
        "train.jsonl more.csv",
        "a.jsonl a.csv",
        "preferences.jsonl",
        "x-00000-of-00001.jsonl y-00000-of-00001.jsonl",
    ],
)
def test_what_is_not_one_file_of_rows_is_refused(tmp_path: Path, names: str) -> None:
    for name in names.split():
        (tmp_path / name).write_text(lines(sums(60)))
    with pytest.raises(DatasetError, match=r"missing \(found") as caught:
        split_files(tmp_path)
    assert "one file of rows, which is split" in caught.value.expected


def test_a_lost_shard_of_one_table_is_named(tmp_path: Path) -> None:
    for number in (0, 2):
        write_rows(tmp_path / f"x-{number:05}-of-00003.jsonl", sums(60))
    with pytest.raises(DatasetError, match=r"x-00001-of-00003\.jsonl missing"):
        split_files(tmp_path)
    (tmp_path / "x-00002-of-00003.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"x-00001-of-00003\.jsonl and 1 more missing"):
        split_files(tmp_path)
