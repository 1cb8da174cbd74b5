"""YAML of users: plain data only, and no more of it than they wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trials.helpers import write_dataset
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError
from trials.io.plain_yaml import LARGEST_FILE, parse_yaml, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + last] * 9)}]\n"
    for last, name in zip("abcdefghi", "bcdefghij", strict=True)
)


def test_what_it_says_is_read() -> None:
    text = "a: &x [1, two, 3.5]\nb: *x\nc: {d: null, e: true}\n"
    assert parse_yaml(text) == {
        "a": [1, "two", 3.5],
        "b": [1, "two", 3.5],
        "c": {"d": None, "e": True},
    }
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BOMB, "aliases expand to more than"),
        (f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 3_000)}]", "more than .* characters"),
        (f"{{? &a {'x' * 900}: 1, b: [{','.join(['{*a : 1}'] * 3_000)}]}}", "characters"),
        ("a: &a [*a, *a]", "holds itself"),
        ("[" * 60 + "]" * 60, "nested deeper than"),
        ("[" * 5_000, "nested deeper than"),
        ("a: " + "9" * 6_000, "limit"),
        ("a: 59" + ":59" * 100_000, "line 1: a number of 300,002 characters, where the limit"),
        ("a: 59" + ":59" * 100_000 + ".5", "the limit"),
        ("a: 0x" + "f" * 6_000, "the limit"),
        ("a: !!int '59" + ":59" * 100_000 + "'", "the limit"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("a: 2024-13-45", "month"),
        ("a: !!bool perhaps", "does not fit its tag"),
        ("a: [1", "line"),
        ("a: \x07", "special characters"),
        ("a: 1\n---\nb: 2", "line 2"),
    ],
)
def test_what_is_refused_is_told_in_one_line(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_file_is_bounded_and_utf8(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(file) == {"a": 1}
    file.write_bytes(b"a: caf\xe9\n")
    with pytest.raises(ValueError, match="byte 7 is not UTF-8"):
        read_yaml(file)
    file.write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(ValueError, match="bytes, more than"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("reward_args:\n  " + BOMB.replace("\n", "\n  "), "aliases expand"),
        ("1: 2\n", "it is a dict"),
        ("reward: exact_match\nreward: numeric\n", "twice"),
        ("name: " + "9" * 6_000 + "\n", "limit"),
    ],
)
def test_a_card_is_refused_with_its_name(tmp_path: Path, card: str, found: str) -> None:
    with pytest.raises(DatasetError, match=found) as caught:
        load_dataset(write_dataset(tmp_path, card))
    assert caught.value.path == tmp_path / "dataset.yaml"


def test_text_is_as_long_as_its_file_lets_it_be() -> None:
    text = f"a: &a {'x' * 500_000}\nb: *a\nc: 1:30\n"
    assert parse_yaml(text) == {"a": "x" * 500_000, "b": "x" * 500_000, "c": 90}
    assert len(parse_yaml(f"a: '{'1' * 900_000}'")["a"]) == 900_000
