"""Commands on a run, a workspace or a disk that is damaged: one message, no traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.conftest import MakeRun

ROOT = Path(__file__).parents[3]


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=os.environ | {"AUTOPIPE_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b'{"run_id": "x"'),
        ("summary.json", b"\xff\xfe{}"),
        ("proposals.jsonl", b"{}\n{}\n"),
        ("trials/{trial}/result.json", b"[]"),
        ("plan.json", b"{"),
    ],
)
def test_a_report_names_the_damaged_file(
    make_run: MakeRun, tmp_path: Path, name: str, content: bytes
) -> None:
    run = make_run()
    file = run.path / name.format(trial=run.trials()[0].spec.trial_id)
    file.write_bytes(content)
    done = command(tmp_path, "report", str(run.path))
    shown = done.stdout + done.stderr
    assert done.returncode == 2, shown
    assert "Traceback" not in shown
    assert re.sub(r"\s", "", f"{file}:") in re.sub(r"\s", "", shown)
    assert file.read_bytes() == content
