"""Options: every one sets a field of the settings, and what is wrong with a field names it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flows.cli import tune
from flows.options import OPTIONS, explain, option_of, samples_of
from tasks.settings import TuneSettings
from trials.records import TrialResult

NO_SETTINGS = {"--as-json", "--resume", "--history", "--context"}
# Fields of fields; the budget is one option.
GROUPS = ("schedule", "compute", "limits")


def fields(model: type[BaseModel] = TuneSettings, before: str = "") -> set[str]:
    names = {before + name for name in model.model_fields if before or name not in GROUPS}
    if before:
        return names
    for name in GROUPS:
        inner = model.model_fields[name].annotation
        assert inner is not None
        names |= fields(inner, f"{name}.")
    return names


def test_every_option_of_tune_is_named_by_the_field_that_it_sets() -> None:
    options = {"--" + name.replace("_", "-") for name in inspect.signature(tune).parameters}
    assert set(OPTIONS) <= fields()
    assert options - NO_SETTINGS <= {option_of(field) for field in fields()}
    assert set(OPTIONS.values()) <= options


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"compute": {"precision": "fp16"}}, ["--precision 'fp16': Input should be 'auto', "]),
        (
            {"schedule": {"total_steps": 1}, "disk_gigabytes": -2.5, "parallel": 0},
            ["--parallel 0: ", "--steps 1: ", "--disk -2.5: "],
        ),
        ({"limits": {"silent_seconds": 0}}, ["--silent-after 0: Input should be greater than 0"]),
        ({"schedule": {"pass_k": 16}}, ["--pass-k: 16 is more than the --pass-samples of 8"]),
        ({"budget": {"amount": 1, "unit": "trials"}}, ["--budget: at least 2 trials"]),
    ],
)
def test_what_is_wrong_with_a_setting_names_option_and_value(
    changes: dict[str, Any], lines: list[str]
) -> None:
    with pytest.raises(ValidationError) as caught:
        TuneSettings(**{"dataset": "d", "model": "m", **changes})
    found = explain(caught.value).splitlines()
    assert len(found) == len(lines)
    assert all(line.startswith(f"  - {part}") for line, part in zip(found, lines, strict=True))


def test_what_is_wrong_with_a_file_names_its_field() -> None:
    with pytest.raises(ValidationError) as caught:
        TrialResult.model_validate({"trial_id": "a", "state": "gone", "fraction": 1})
    assert explain(caught.value).startswith("  - state 'gone': Input should be")


@pytest.mark.parametrize(
    ("pass_k", "pass_samples", "expected"),
    [(None, None, None), (4, None, 8), (16, None, 16), (16, 4, 4), (2, 64, 64)],
)
def test_there_are_enough_samples_for_pass_at_k(
    pass_k: int | None, pass_samples: int | None, expected: int | None
) -> None:
    assert samples_of(pass_k, pass_samples) == expected
