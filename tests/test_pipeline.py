"""dvc.yaml: its stages are the steps of the offline flow, and their files and settings are real."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.offline import ALL, Step

ROOT = Path(__file__).resolve().parents[1]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
MADE_ELSEWHERE = "data/models"  # by the stages of the tiny model family


def names(entries: list[str | dict[str, Any]]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def outputs(stage: Step) -> list[str]:
    return names(STAGES[stage].get("outs", []) + STAGES[stage].get("metrics", []))


def test_every_step_is_a_stage_that_runs_it() -> None:
    for step in ALL:
        assert STAGES[step]["cmd"] == f"python -m flows.offline {step}"
    assert [name for name in STAGES if name in set(ALL)] == list(ALL)


@pytest.mark.parametrize("step", ALL)
def test_what_a_stage_depends_on_is_there_or_made_before(step: Step) -> None:
    before = {file for earlier in ALL[: ALL.index(step)] for file in outputs(earlier)}
    for file in STAGES[step]["deps"]:
        assert file in before or (ROOT / file).exists(), file
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    cached = [file for file in STAGES[step].get("outs", []) if isinstance(file, str)]
    assert all(file in ignored or f"{file}/" in ignored for file in cached)


@pytest.mark.parametrize("step", ALL)
def test_the_settings_of_a_stage_are_in_their_files(step: Step) -> None:
    for entry in STAGES[step].get("params", []):
        [(file, keys)] = entry.items() if isinstance(entry, dict) else [("params.yaml", [entry])]
        content = yaml.safe_load((ROOT / file).read_text("utf-8"))
        for key in keys:
            value = content
            for part in key.split("."):
                value = value[part]


def test_each_stage_needs_the_one_before() -> None:
    for earlier, later in pairwise(ALL):
        assert set(outputs(earlier)) & set(STAGES[later]["deps"]), later
    assert MADE_ELSEWHERE in STAGES[Step.FEATURIZE]["deps"]
