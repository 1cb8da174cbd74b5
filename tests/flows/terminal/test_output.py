"""Standard output that cannot be written: one line on standard error, or nothing in a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.config.paths import ROOT
from tests.tasks.conftest import MakeRun

FULL = Path("/dev/full")
COMMANDS = [["datasets"], ["--help"]]  # ours, and one that is Typer's


def autopipe(home: Path, arguments: list[str], output: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=os.environ | {"AUTOPIPE_HOME": str(home)},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=False,
    )


def on_full_disk(home: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    with FULL.open("w") as full:
        return autopipe(home, arguments, full)


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_named_once(tmp_path: Path, arguments: list[str]) -> None:
    done = on_full_disk(tmp_path, arguments)
    assert done.returncode == 1
    told = "error: standard output cannot be written: No space left on device"
    assert done.stderr.splitlines() == [told]


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_a_report_is_written_all_the_same(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(trials=3)
    done = on_full_disk(tmp_path, ["report", str(run.path)])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr
    assert (run.path / "report.html").exists()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_ends_the_command_silently(
    tmp_path: Path, arguments: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = autopipe(tmp_path, arguments, writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        pytest.param("flows.offline", "The search would use", marks=pytest.mark.slow),
        ("benchmarks.examples", "beyond noise"),
    ],
)
def test_programs_with_tables_print_them_into_a_pipe(
    tmp_path: Path, module: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "show"],
        env=os.environ | {"AUTOPIPE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        cwd=ROOT,
    )
    assert told in done.stdout
