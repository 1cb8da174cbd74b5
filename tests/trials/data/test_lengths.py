"""Rows that are too long for the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.trials.helpers import ROOT, write_dataset, write_rows
from tests.trials.row_files import GOOD, PAIR, break_line, with_preferences
from trials.data.dataset import load_dataset
from trials.data.lengths import check_lengths
from trials.io.errors import DatasetError


def test_a_row_longer_than_the_context(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "tokenizer")
    write_dataset(tmp_path)
    break_line(tmp_path, json.dumps({**GOOD, "prompt": "#" * 100}), 4)
    dataset = load_dataset(tmp_path)
    check_lengths(dataset, tokenizer, max_length=512, context_limit=512)
    for limits in (
        {"max_length": 60, "context_limit": 512},
        {"max_length": 512, "context_limit": 60},
    ):
        with pytest.raises(DatasetError, match=r"train\.jsonl:4: the row has .* tokens") as caught:
            check_lengths(dataset, tokenizer, **limits)
        assert "at most 60" in caught.value.expected
        longer = limits["context_limit"] == 60
        assert ("choose a model with a context of at least" in caught.value.expected) is longer
        assert "raise --max-length to" in caught.value.expected
        assert "shorten or remove the row" in caught.value.expected


def test_rows_longer_than_the_context_are_counted_with_the_longest(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "tokenizer")
    with_preferences(tmp_path, {**PAIR, "chosen": "#" * 70, "rejected": "#" * 80})
    for number in range(8):
        break_line(tmp_path, json.dumps({**GOOD, "prompt": "#" * (100 + number)}), 4 + number)
    with pytest.raises(DatasetError, match=r"train\.jsonl:4: the row has 1.. tokens") as caught:
        check_lengths(load_dataset(tmp_path), tokenizer, max_length=None, context_limit=60)
    problem = caught.value.problem
    assert "; 9 of 69 rows are too long: this one, train.jsonl:5, train.jsonl:6, " in problem
    assert "train.jsonl:9 and 3 more; the longest is train.jsonl:11 with 1" in problem


def test_rows_of_a_single_file_that_are_too_long_are_named_in_their_order(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "tokenizer")
    rows = [{**GOOD, "prompt": "#" * (100 + number)} for number in range(60)]
    dataset = load_dataset(write_rows(tmp_path / "a.jsonl", rows))
    with pytest.raises(DatasetError) as caught:
        check_lengths(dataset, tokenizer, max_length=None, context_limit=60)
    assert caught.value.line == 1
    assert "this one, a.jsonl:2, a.jsonl:3, a.jsonl:4, a.jsonl:5, a.jsonl:6 and 54 more" in str(
        caught.value
    )


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_preference_longer_than_the_context(tmp_path: Path, side: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "tokenizer")
    dataset = load_dataset(with_preferences(tmp_path, PAIR, {**PAIR, side: "#" * 100}))
    check_lengths(dataset, tokenizer, max_length=512, context_limit=512)
    with pytest.raises(DatasetError, match=r"preferences\.jsonl:2: the row has .* tokens"):
        check_lengths(dataset, tokenizer, max_length=60, context_limit=512)
