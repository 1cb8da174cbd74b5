from __future__ import annotations

from pathlib import Path

import pytest

from trials.spec.records import Failure, Stop, TrialResult, read_record, write_json

# As results on disk and rows of histories have them, of all versions.
KINDS = (
    *("diverged", "out_of_memory", "killed", "crashed", "error", "hung", "timed_out"),
    *("bad_data", "bad_config", "reward_failed", "disk_full"),
)
RULES = ("loss_explosion", "kl_growth", "zero_reward", "reward_drop", "no_spread", "wall_clock")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_result_keeps_its_text(tmp_path: Path, kind: str) -> None:
    failure = {"kind": kind, "message": "", "log_tail": ""}
    stored = {"trial_id": "t", "state": "failed", "fraction": 0.0, "failure": failure}
    result = TrialResult.model_validate(stored)
    write_json(tmp_path / "result.json", result)
    assert f'"kind": "{kind}"' in (tmp_path / "result.json").read_text()
    assert read_record(tmp_path / "result.json", TrialResult) == result
    assert isinstance(result.failure, Failure)
    assert f"{result.failure.kind}" == kind


@pytest.mark.parametrize("rule", RULES)
def test_a_stopped_result_keeps_its_text(tmp_path: Path, rule: str) -> None:
    stop = {"rule": rule, "step": 3, "values": {}}
    stored = {"trial_id": "t", "state": "stopped", "fraction": 0.5, "score": 0.5, "stop": stop}
    result = TrialResult.model_validate(stored)
    write_json(tmp_path / "result.json", result)
    assert f'"rule": "{rule}"' in (tmp_path / "result.json").read_text()
    assert read_record(tmp_path / "result.json", TrialResult) == result
    assert isinstance(result.stop, Stop)
    assert f"{result.stop.rule}" == rule
