"""A trial that somebody runs by hand, without a run around it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import SCHEDULE, make_spec, write_dataset
from tests.trials.runs import assert_same_run, run
from trials.process.launch import Launcher
from trials.process.supervisor import Cancelled, Supervisor
from trials.spec.events import read_events
from trials.spec.records import Limits, TrialResult, TrialSpec, read_record, write_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("rows") / "sums")


def test_a_trial_run_by_hand_goes_on_from_its_own_checkpoint(tmp_path: Path, dataset: Path) -> None:
    longer = SCHEDULE.model_copy(update={"total_steps": 40})
    often = Limits(checkpoint_seconds=1e-9)
    spec = make_spec(tmp_path / "hand", dataset, schedule=longer, limits=often)
    straight = make_spec(tmp_path / "straight", dataset, schedule=longer)

    def stop_in_rl(_: TrialSpec, event: dict[str, Any]) -> None:
        if event.get("stage") == "rl" and event["step"] > 25:
            supervisor.cancel.set()

    with Supervisor(Launcher(), stop_in_rl) as supervisor, pytest.raises(Cancelled):
        supervisor.run(spec)
    command = Launcher().command("trials.training.run", [Path(spec.folder) / "spec.json"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "completed, validation score" in done.stdout
    result = read_record(Path(spec.folder) / "result.json", TrialResult)
    assert_same_run((spec, result), (straight, run(straight)[0]))
    begun = [
        event.get("continued_from")
        for event in read_events(Path(spec.folder) / "events.jsonl")
        if event.get("phase") == "loading"
    ]
    assert begun[0] is None
    assert "step-00002" in begun[1] or "step-00003" in begun[1]


def test_by_hand_a_wrong_file_and_a_failed_trial_are_said(tmp_path: Path, dataset: Path) -> None:
    spec = make_spec(tmp_path / "bad", dataset, {"rl_batch_size": 9})
    file = tmp_path / "bad" / "spec.json"
    write_json(file, spec)
    code = f"import sys; from trials.training.run import main; sys.exit(main({[str(file)]}))"
    failed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "failed (bad_config)" in failed.stdout
    missing = subprocess.run(
        [sys.executable, "-c", code.replace("spec.json", "none.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 2
    assert "is not a trial's spec.json" in missing.stderr
