"""What a worker keeps follows from files, and is never what training changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.trials.helpers import TINY, write_dataset
from trials.data.dataset import fingerprint
from trials.io.errors import DatasetError
from trials.models import reuse
from trials.models.reuse import KEPT, prepared, token_lengths, unchanged_dataset


def test_an_unchanged_dataset_is_read_once(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data")
    content = fingerprint(folder)
    first = unchanged_dataset(str(folder), content)
    assert unchanged_dataset(str(folder), content) is first
    assert set(first.splits) == {"train", "validation"}


def test_a_changed_dataset_is_refused_though_it_is_known(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data")
    content = fingerprint(folder)
    unchanged_dataset(str(folder), content)
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"prompt": "3 + 4 = ?", "completion": "7", "answer": "7"}\n')
    with pytest.raises(DatasetError, match="changed since the run began"):
        unchanged_dataset(str(folder), content)
    with (folder / "train.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DatasetError, match=r"train\.jsonl:42"):
        unchanged_dataset(str(folder), content)


def test_lengths_are_those_of_the_rows(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data")
    content = fingerprint(folder)
    longest, completion, most = token_lengths(str(folder), content, str(TINY), 64, 256)
    assert completion < longest <= 64
    assert 4 < most <= completion
    with pytest.raises(DatasetError, match="--max-length"):
        token_lengths(str(folder), content, str(TINY), longest - 1, 256)


def test_data_are_prepared_once_a_key_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "_tokenized", type(reuse._tokenized)())
    built: list[str] = []

    def build(rows: str) -> SimpleNamespace:
        built.append(rows)
        return SimpleNamespace(train_dataset=f"prepared {rows.removeprefix('prepared ')}")

    for key in ("a", "a", *range(KEPT), "a"):
        prepared(key, build, lambda key=key: f"raw {key}")
    assert built[:2] == ["raw a", "prepared raw a"]
    assert built[-1] == "raw a"  # was dropped for the others
    assert len(reuse._tokenized) == KEPT
