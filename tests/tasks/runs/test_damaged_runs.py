"""Commands on a run, a workspace or a disk that is damaged: one message, no traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tests.tasks.conftest import MakeRun


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
    runner = CliRunner(env={"AUTOPIPE_HOME": str(tmp_path)})
    done = runner.invoke(app, ["report", str(run.path)])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert re.sub(r"\s", "", f"{file}:") in re.sub(r"\s", "", done.output)
    assert file.read_bytes() == content
