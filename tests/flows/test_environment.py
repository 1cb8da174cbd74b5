"""A workspace that cannot be made is named, by every command and by the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALL = "import autopipe\ntry: autopipe.tune('gcd')\nexcept autopipe.AutoPipeError as e: print(e)"


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "autopipe", "tune", "gcd"],
        ["-m", "autopipe", "report", "x"],
        ["-m", "autopipe", "history", "check"],
        ["-m", "autopipe", "versions"],
        ["-c", CALL],
    ],
    ids=["tune", "report", "history", "versions", "library"],
)
def test_a_workspace_that_cannot_be_made_is_named(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = subprocess.run(
        [sys.executable, *program],
        env=os.environ | {"AUTOPIPE_HOME": str(home)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert f"cannot write {home}: Not a directory" in done.stdout + done.stderr
    assert "a file is where a folder belongs" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if program[0] == "-c" else 2)
