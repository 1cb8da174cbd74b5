"""A workspace that cannot be made is named, by every command and by the library."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import autopipe
from flows.cli.app import app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    monkeypatch.setenv("AUTOPIPE_HOME", str(home))
    return home


@pytest.mark.parametrize("command", ["tune gcd", "report x", "history check", "versions"])
def test_a_workspace_that_cannot_be_made_is_named(command: str, home: Path) -> None:
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 2
    assert f"cannot write {home}: Not a directory" in done.output
    assert "a file is where a folder belongs" in done.output


def test_the_library_names_it_too(home: Path) -> None:
    with pytest.raises(autopipe.AutoPipeError, match=f"cannot write {home}: Not a directory"):
        autopipe.tune("gcd")
