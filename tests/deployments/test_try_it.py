"""The script that shows the whole way: a server, three workers, a run, its checks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.config.paths import ROOT


@pytest.mark.slow
def test_the_whole_way_on_one_machine() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deployments" / "try_it.py")],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run by workers one, two" in done.stdout
    assert "all checks passed" in done.stdout
