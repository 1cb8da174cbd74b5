"""A user that the machine does not know, as in a container that was given another uid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UID = "54321"
KEEP = """
import sys
from pathlib import Path
from tasks.versioning.store import version_store
print(version_store().add("thing", Path(sys.argv[1])))
"""
NAMES = """
import getpass, os
import tasks
from pathlib import Path
print(Path.home(), getpass.getuser(), os.path.expanduser("~/x"))
"""


def nobody(home: Path, *arguments: str) -> str:
    """What a program prints that runs as nobody, with root's rights on files and no others."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("another uid takes root and setpriv")
    rights = "+dac_override,+dac_read_search"
    change = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups"]
    change += ["--inh-caps", rights, "--ambient-caps", rights]
    if subprocess.run([*change, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine passes no rights on")
    unknown = {"HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CONFIG_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in unknown}
    done = subprocess.run(
        [*change, sys.executable, "-c", *arguments],
        env=environment | {"AUTOPIPE_HOME": str(home)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_has_a_home_and_a_name(tmp_path: Path) -> None:
    assert nobody(tmp_path, NAMES) == f"{tmp_path}/.home uid-{UID} {tmp_path}/.home/x"


def test_dvc_keeps_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "thing.txt").write_text("content")
    revision = nobody(tmp_path, KEEP, str(tmp_path / "thing.txt"))
    assert len(revision) == 32
    assert (tmp_path / "versions" / ".kept" / f"{revision}.dvc").exists()


def test_who_has_them_keeps_them(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "USER": "me", "LOGNAME": "me"}
    done = subprocess.run(
        [sys.executable, "-c", NAMES],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path), "me", f"{tmp_path}/x"]
