from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trials.io import atomic
from trials.io.errors import FileError


def _fail(file: Path) -> None:
    file.write_text("ha")
    raise ZeroDivisionError


def test_a_file_is_replaced_as_a_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "made" / "a.txt"
    atomic.write_text(file, "old")
    with atomic.replacing(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert [*file.parent.iterdir()] == [file]
    assert file.read_text() == "new"


def test_what_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", tmp_path / "folder"
    file.write_text("old")
    for made in (atomic.replacing(file), atomic.new_folder(folder)):
        with pytest.raises(ZeroDivisionError), made as draft:
            _fail(draft / "inner" if draft.is_dir() else draft)
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text() == "old"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot write .*file/inner\.txt: "):
        atomic.write_text(tmp_path / "file" / "inner.txt", "")


def test_the_first_of_two_folders_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with atomic.new_folder(folder) as late:
        (late / "late").touch()
        folder.mkdir()
        (folder / "early").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "early"]
    folder = tmp_path / "other"
    with pytest.raises(NotADirectoryError), atomic.new_folder(folder):
        folder.touch()


def test_a_draft_of_a_killed_process_is_not_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    stray = atomic.draft_of(folder)
    stray.mkdir()
    (stray / "stray").touch()
    with atomic.new_folder(folder):
        pass
    assert [*folder.iterdir()] == []


def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    names: dict[int, str] = {}

    def opened(path: Path, flags: int) -> int:
        names[descriptor := os_open(path, flags)] = Path(path).name
        return descriptor

    def renamed(draft: Path, path: Path) -> Path:
        done.append("renamed")
        return os_replace(draft, path)

    os_open, os_replace = os.open, Path.replace
    with atomic.new_folder(tmp_path / "folder") as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "file").touch()
        (draft / "link").symlink_to("nowhere")
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(names[descriptor]))
        monkeypatch.setattr(Path, "replace", renamed)
    assert {*done[:3]} == {draft.name, "inner", "file"}
    assert done[3:] == ["renamed", tmp_path.name]


def test_a_file_system_that_flushes_no_folders_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(os, "fsync", refuse)
    number = errno.EINVAL
    atomic.write_text(tmp_path / "a.txt", "text")
    number = errno.EIO
    with pytest.raises(FileError):
        atomic.write_text(tmp_path / "a.txt", "other")
    assert (tmp_path / "a.txt").read_text() == "text"
