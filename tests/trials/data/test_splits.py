"""Splits that are empty or share prompts."""

from __future__ import annotations

from pathlib import Path

from tests.trials.helpers import SIZES, sums, write_dataset, write_rows
from tests.trials.row_files import GOOD, PAIR, refusal, with_preferences
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError


def test_empty_split(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "test.jsonl").write_text("\n\n")
    assert "the test split is empty" in refusal(tmp_path).problem


def test_a_single_file_too_small_to_split(tmp_path: Path) -> None:
    error = refusal(write_rows(tmp_path / "a.jsonl", sums(5)))
    assert "split is empty: the 5 rows of this one file were split by a hash" in error.problem
    assert "about 80 % to train, 10 % to validation and 10 % to test, which gave" in error.problem
    assert "more rows" in error.expected
    assert "a folder with the three splits" in error.expected
    error = refusal(write_rows(tmp_path / "b" / "a.jsonl", [GOOD] * 70).parent)
    assert "the 70 rows with 1 different prompt of this" in error.problem


def test_fifty_rows_are_enough_to_split(tmp_path: Path) -> None:
    short = 0
    for start in range(40):
        rows = [{**GOOD, "prompt": f"{start}: {n}?"} for n in range(50)]
        try:
            load_dataset(write_rows(tmp_path / "a.jsonl", rows))
        except DatasetError:
            short += 1
    assert short <= 2


def test_a_prompt_in_two_splits(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    leaked = (tmp_path / "train.jsonl").read_text().splitlines()[4]
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write(leaked + "\n")
    error = refusal(tmp_path)
    assert "'train' (train.jsonl:5) and 'test'" in error.problem
    assert (error.path, error.line) == (tmp_path / "test.jsonl", SIZES["test"] + 1)


def test_prompts_in_two_splits_are_counted_and_the_first_named(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    with (tmp_path / "test.jsonl").open("a") as file:
        file.writelines((tmp_path / "train.jsonl").read_text().splitlines(True)[:9])
    error = refusal(tmp_path)
    assert "'train' (train.jsonl:1) and 'test'; so it is with 8 more: " in error.problem
    assert "test.jsonl:10 (train.jsonl:2), test.jsonl:11 (train.jsonl:3), " in error.problem
    assert error.problem.endswith("test.jsonl:14 (train.jsonl:6) and 3 more")
    assert error.line == SIZES["test"] + 1
    assert "remove the rows from one of the two" in error.expected


def test_held_out_prompts_of_preferences_are_counted_and_the_first_named(tmp_path: Path) -> None:
    held_out = sums(12, SIZES["train"])
    with_preferences(tmp_path, PAIR, *({**PAIR, "prompt": row["prompt"]} for row in held_out))
    error = refusal(tmp_path)
    assert (error.line, error.path) == (2, tmp_path / "preferences.jsonl")
    assert "in 'validation' too (validation.jsonl:1); so it is with 11 more: " in error.problem
    assert "preferences.jsonl:3 (validation.jsonl:2), " in error.problem
    assert error.problem.endswith(" and 6 more")
