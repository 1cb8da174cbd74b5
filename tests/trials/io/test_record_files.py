"""Files of AutoPipe's own after a disk, an editor or a crash changed them."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from tests.disks import small_disk
from trials.io.errors import AutoPipeError, DatasetError, FileError, RecordError, SettingsError
from trials.io.record_files import REMEDIES, read_json, read_record, write_json
from trials.spec.records import Fidelity

GOOD = b'{"model": "tiny", "fraction": 0.5}'
DAMAGED = {
    "empty": b"",
    "blank": b"  \n ",
    "cut": GOOD[:20],
    "zeros": bytes(200),
    "not UTF-8": b'{"model": "t\xff", "fraction": 0.5}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "a list": b"[" + GOOD + b"]",
    "a number": b"17",
    "null": b"null",
    "text": b'"tiny"',
    "another field": b'{"model": "tiny", "fraction": 0.5, "speed": 1}',
    "a field less": b'{"model": "tiny"}',
    "another type": b'{"model": ["tiny"], "fraction": {"a": 1}}',
    "NaN": b'{"model": "tiny", "fraction": NaN}',
    "infinity": b'{"model": "tiny", "fraction": -Infinity}',
    "too large": b'{"model": "tiny", "fraction": 1e999}',
    "huge integer": b'{"model": "tiny", "fraction": ' + b"9" * 10_000 + b"}",
    "deep": b'{"model": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "twice": GOOD + b"\n" + GOOD,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("name", ["run.json", "result.json", "else.json"])
def test_a_damaged_record_is_named_with_what_to_do(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(RecordError) as raised:
        read_record(file, Fidelity)
    text = str(raised.value)
    assert text.startswith(f"{file}: ")
    assert len(text.splitlines()) == 2
    assert REMEDIES.get(name, "restore it from a copy") in text
    assert len(text) < 1000
    assert file.read_bytes() == content  # nothing is lost


def test_what_it_holds_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"model": {"password": "hunter22"}, "fraction": "hunter22"}')
    with pytest.raises(RecordError) as raised:
        read_record(file, Fidelity)
    assert "hunter22" not in str(raised.value)


NO_NUMBERS = [b'{"a": %s}' % text for text in (b"NaN", b"-Infinity", b"[1, 1e999]")]


@pytest.mark.parametrize("content", [b"[1]", b"7", b"", b"{", b"\xff", b"[" * 200_000, *NO_NUMBERS])
def test_so_is_a_mapping(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "observations.json"
    file.write_bytes(content)
    with pytest.raises(RecordError, match=r"observations\.json: (?s:.)*made again"):
        read_json(file)


def test_a_good_one_is_read_and_one_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    assert read_record(tmp_path / "good", Fidelity).fraction == 0.5
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "none", Fidelity)


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read (?s:.)*a folder is where a file belongs"):
        read_record(tmp_path, Fidelity)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot write (?s:.)*a file is where a folder belongs"):
        write_json(tmp_path / "file" / "run.json", {})


def test_a_full_disk_is_said_and_the_file_before_stays(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        write_json(disk / "run.json", {"a": 1})
        with pytest.raises(FileError, match=r"No space left(?s:.)*make space") as raised:
            write_json(disk / "run.json", {"a": "x" * (2 << 20)})
        assert raised.value.errno == errno.ENOSPC
        assert isinstance(raised.value, AutoPipeError)
        assert isinstance(raised.value, OSError)
        assert read_json(disk / "run.json") == {"a": 1}


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "read-only"),
        (errno.EACCES, "you may not"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "look whether"),
    ],
)
def test_every_reason_has_its_advice(number: int, hint: str) -> None:
    error = FileError("write", "/x/run.json", OSError(number, os.strerror(number)))
    assert str(error).startswith(f"cannot write /x/run.json: {os.strerror(number)}\n")
    assert hint in str(error)


@pytest.mark.parametrize(
    "error",
    [
        FileError("write", "/x", OSError(errno.EROFS, "read-only")),
        RecordError("/x/run.json", "is empty", "restore it", 7),
        DatasetError("no rows", path="train.jsonl", line=3),
        SettingsError("no"),
    ],
)
def test_an_error_comes_from_another_process_as_it_was(error: AutoPipeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
