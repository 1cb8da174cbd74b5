"""A history of one's own: filled once, by whoever comes first, and never again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.recurring import models_of
from tasks.config.paths import (
    BUNDLED_HISTORY,
    BUNDLED_OFFLINE,
    ROOT,
    built_folder,
    history_folder,
    offline_folder,
)
from tasks.history.location import copy_bundled, resolve_history_dir
from tasks.history.rows import history_files
from trials.io.errors import SettingsError

SHOW = """
from tasks.history.rows import history_files
from tasks.config.paths import built_folder, offline_folder
from tasks.history.location import resolve_history_dir
files = history_files(resolve_history_dir())
print(resolve_history_dir(), len(files), offline_folder().features.exists(), built_folder())
"""


def begin(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SHOW],
        cwd=ROOT,
        env=os.environ | {"AUTOPIPE_HISTORY": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_without_a_word_it_is_the_one_of_the_checkout() -> None:
    assert (history_folder(), offline_folder().path) == (BUNDLED_HISTORY, BUNDLED_OFFLINE)
    assert built_folder().parent == BUNDLED_HISTORY.parent
    assert resolve_history_dir() == BUNDLED_HISTORY


# review fault 19
def test_a_history_named_later_is_the_one_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may name it after AutoPipe was imported."""
    monkeypatch.setenv("AUTOPIPE_HISTORY", str(tmp_path / "mine" / "history"))
    assert resolve_history_dir() == tmp_path / "mine" / "history"
    assert history_files(tmp_path / "mine" / "history")
    assert offline_folder().features.is_relative_to(tmp_path / "mine")
    assert models_of(tmp_path / "mine" / "history") is None


def test_any_other_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve_history_dir(tmp_path / "own") == tmp_path / "own"
    assert not (tmp_path / "own").exists()


def test_processes_that_begin_at_once_find_all_that_comes_with_autopipe(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    bundled = [
        file.name for file in history_files(BUNDLED_HISTORY) if file.name.startswith("bundled")
    ]
    begun = [begin(folder) for _ in range(3)]
    told = f"{folder} {len(bundled)} True {tmp_path / 'built'}"
    assert [process.communicate(timeout=120)[0].strip() for process in begun] == [told] * 3
    assert [file.name for file in history_files(folder)] == bundled
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history", "offline"]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    (source / "bundled-a.parquet").write_text("a")
    (source / "own-run.parquet").write_text("of this checkout alone")
    folder.mkdir()
    copy_bundled(source, folder)
    assert [file.name for file in folder.iterdir()] == ["bundled-a.parquet"]
    (folder / "bundled-a.parquet").rename(folder / "mine.parquet")
    copy_bundled(source, folder)
    assert [file.name for file in folder.iterdir()] == ["mine.parquet"]


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AUTOPIPE_HISTORY", str(tmp_path / "file" / "history"))
    with pytest.raises(SettingsError, match="AUTOPIPE_HISTORY"):
        resolve_history_dir()


def test_a_folder_that_is_not_there_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve_history_dir(tmp_path / "typo") == tmp_path / "typo"
    assert f"there is no history at {tmp_path / 'typo'} yet" in caplog.text
    caplog.clear()
    assert resolve_history_dir(tmp_path) == tmp_path
    assert not caplog.text
