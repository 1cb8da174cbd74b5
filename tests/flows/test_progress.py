"""What is shown without a terminal: one line for each phase and each trial."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from flows.json_lines import JsonLines
from flows.progress import CollectProgress, LiveProgress
from tasks.watch import Several
from trials.records import Failure, Fidelity, TrialResult, TrialSpec

CONFIG = {
    "sft_share": 0.5,
    "dpo_share": 0.2,
    "dpo_learning_rate": 3e-6,
    "adapter": "lora",
    "rl_learning_rate": None,  # not set
}
DONE = TrialResult(trial_id="000-a", state="completed", fraction=1.0, score=0.5, score_se=0.02)
FAILED = TrialResult(
    trial_id="001-a", state="failed", fraction=0.0, failure=Failure(kind="hung", message="m")
)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160)


@pytest.fixture
def spec() -> TrialSpec:
    return TrialSpec(
        trial_id="000-a",
        dataset="d",
        dataset_fingerprint="f",
        config=CONFIG,
        fidelity=Fidelity(model="m", fraction=1.0),
        folder="t",
    )


def lines(console: Console) -> list[str]:
    file: Any = console.file
    return [line.strip() for line in file.getvalue().splitlines() if line.strip()]


def test_phases_and_trials_are_told_with_the_settings_of_all_stages(
    console: Console, spec: TrialSpec
) -> None:
    with LiveProgress(console) as progress:
        progress.phase("searching")
        progress.result(spec, DONE)
        progress.result(spec, FAILED)
    phase, done, failed = lines(console)
    assert phase == "searching"
    for part in ("0.500 ± 0.020", "share 0.5", "dpo share 0.2", "dpo lr 3e-06", "lora"):
        assert part in done
    assert "None" not in done
    assert "failed: hung" in failed


def test_trials_of_a_collect_run_are_told(console: Console, spec: TrialSpec) -> None:
    with CollectProgress(console, 2) as progress:
        progress.result(spec, DONE)
        assert lines(console) == ["1/2 trials  0.500"]  # at once, and not at the end
        progress.result(spec, FAILED)
    assert "2/2 trials  failed" in lines(console)


def test_a_collect_run_tells_on_how_many_datasets_the_model_was_measured(console: Console) -> None:
    with CollectProgress(console, 2) as progress:
        progress.probed(1, 3)
        assert lines(console) == ["base model measured on 1/3 datasets"]


def test_how_far_a_phase_is_and_what_is_said_reach_every_watcher(console: Console) -> None:
    told = io.StringIO()
    with LiveProgress(console) as progress:
        everybody = Several([progress, JsonLines(told)])
        everybody.progress(3, 12)
        everybody.message("a full trial takes [2 min]\n6 of them fit")
    assert lines(console) == ["a full trial takes [2 min]", "6 of them fit"]
    assert [json.loads(line) for line in told.getvalue().splitlines()] == [
        {"event": "progress", "done": 3, "total": 12},
        {"event": "message", "text": "a full trial takes [2 min]\n6 of them fit"},
    ]
