"""One writer at a time, and a lock that its holder cannot take to the grave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.lock import Locked, locked, run_lock

HOLD = """
import sys, time
from pathlib import Path
from tasks.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline().strip() == "held"
    return started


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    other = holder(tmp_path / "run")
    try:
        with (
            pytest.raises(Locked, match=rf"run run is in use by process {other.pid} on "),
            run_lock(tmp_path / "run"),
        ):
            pass
    finally:
        other.kill()
        other.wait()


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    other = holder(tmp_path / "run")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with run_lock(tmp_path / "run"):
        pass


def test_it_is_waited_for_as_long_as_asked(tmp_path: Path) -> None:
    other = holder(tmp_path)
    start = time.monotonic()
    with pytest.raises(Locked, match="try later"), locked(tmp_path, "it", "try later", 0.5):
        pass
    assert time.monotonic() - start >= 0.5
    other.kill()
    other.wait()


def test_it_can_be_taken_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    with run_lock(tmp_path):
        pass


def test_a_run_that_was_refused_leaves_no_folder_and_one_with_content_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), run_lock(tmp_path / "run"):
        raise ValueError("refused")
    assert not (tmp_path / "run").exists()
    with run_lock(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
    assert (tmp_path / "run" / "run.json").exists()
    with run_lock(tmp_path / "run"):
        pass
