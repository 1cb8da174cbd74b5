"""Datasets with something wrong in them, and the refusal of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import write_dataset
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError

GOOD = {"prompt": "1 + 1 =", "completion": "2", "answer": "2"}
PAIR = {"prompt": "3 + 4 = ?", "chosen": "7", "rejected": "8"}


def refusal(path: Path) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        load_dataset(path)
    error = caught.value
    assert str(error.path) in str(error)
    assert error.expected
    assert error.expected in str(error)
    return error


def break_line(folder: Path, line: str | bytes, number: int = 3) -> Path:
    """Puts ``line`` into the training split as its 1-based line ``number``."""
    file = folder / "train.jsonl"
    lines = file.read_bytes().splitlines()
    lines.insert(number - 1, line.encode() if isinstance(line, str) else line)
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


def with_preferences(folder: Path, *lines: str | dict[str, Any]) -> Path:
    write_dataset(folder)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "preferences.jsonl").write_text(text + "\n")
    return folder
