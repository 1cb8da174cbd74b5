"""Options: every one sets a field of the settings, and what is wrong with a field names it."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from flows import cli
from flows.cli import tune
from flows.options import explain, samples_of, settled
from tasks.config.command import OPTIONS, beyond_options, reproduce_command
from tasks.config.settings import TuneSettings
from tests.trials.helpers import write_dataset
from trials.data.dataset import fingerprint, load_dataset
from trials.spec.records import Limits, TrialResult

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
    assert options - NO_SETTINGS - {"--dataset"} == set(OPTIONS.values())


def test_the_help_says_what_holds_where_an_option_is_not_given() -> None:
    shown = CliRunner().invoke(cli.app, ["tune", "--help"], env={"COLUMNS": "200"}).output
    found = " ".join(shown.replace("│", " ").split())
    schedule, limits = TuneSettings.model_fields["schedule"].default, Limits()
    for text in (
        f"Steps of the full schedule; default: {schedule.total_steps}.",
        f"Validation rows; default: {schedule.eval_rows}.",
        f"Test rows at the end; default: {TuneSettings.model_fields['test_rows'].default}.",
        "Tokens of prompt + completion; default: as the longest row has.",
        "Tokens generated; default: from the data.",
        "Gigabytes that the run's checkpoints may take; default: 50.",
        f"after which a trial is ended; default: {limits.silent_seconds:g}.",
    ):
        assert text in found


# One value of each field that an option sets, none of them its default.
OTHERS: dict[str, Any] = {
    "budget": {"amount": 5400.0, "unit": "seconds"},
    "parallel": 3,
    "seed": 7,
    "space": "sft",
    "strategy": "sobol",
    "schedule.total_steps": 61,
    "schedule.max_length": 99,
    "schedule.max_completion_tokens": 33,
    "schedule.eval_rows": 44,
    "schedule.eval_batch_size": 22,
    "schedule.micro_batch_size": 11,
    "schedule.pass_k": 3,
    "schedule.pass_samples": 12,
    "test_rows": 55,
    "threads": 5,
    "gpus_per_trial": 2,
    "accelerate_config": "/etc/my gpus.yaml",
    "compute.precision": "float32",
    "compute.gradient_checkpointing": True,
    "compute.vllm": True,
    "limits.silent_seconds": 77,
    "limits.checkpoint_seconds": 88,
    "trials_on": "workers",
    "store": "s3://bucket/runs",
    "disk_gigabytes": 2.5,
    "early_stopping": False,
    "use_history": False,
    "allow_user_code": True,
}


# review fault 3
@pytest.mark.parametrize("field", [*(field for field in OPTIONS if field != "model"), "all"])
def test_the_command_of_a_report_makes_the_settings_that_it_was_made_of(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option there and back, and all of them together; nothing is said to have none."""
    given: dict[str, Any] = {"dataset": "gcd", "model": "tiny-1m"}
    for name in OTHERS if field == "all" else [field]:
        group, _, inner = name.rpartition(".")
        (given.setdefault(group, {}) if group else given)[inner] = OTHERS[name]
    settings = TuneSettings(**given)
    begun: list[TuneSettings] = []
    monkeypatch.setattr(cli, "run_tune", lambda settings, *_: begun.append(settings))
    monkeypatch.setattr("tasks.planning.preflight.check_settings", lambda settings: None)
    _, *arguments = shlex.split(reproduce_command(settings))
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert begun == [settings]
    assert beyond_options(settings) == []


# review fault 14
@pytest.mark.parametrize("option", ["dataset", "model", "space"])
def test_a_name_means_the_same_whatever_lies_in_the_folder(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that AutoPipe knows is that name; the folder of that name is asked for by its path."""
    name = {"dataset": "gcd", "model": "tiny-1m", "space": "sft"}[option]
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    begun: list[TuneSettings] = []
    monkeypatch.setattr(cli, "run_tune", lambda settings, *_: begun.append(settings))
    monkeypatch.setattr("tasks.planning.preflight.check_settings", lambda settings: None)
    for given in (name, f"./{name}"):
        options = [given] if option == "dataset" else [f"--{option}", given]
        done = CliRunner().invoke(cli.app, ["tune", *options, "--parallel", "1"])
        assert done.exit_code == 0, done.output
    assert [getattr(settings, option) for settings in begun] == [name, str(tmp_path / name)]
    assert caplog.text.count(f"./{name} is the one here") == 1


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"compute": {"precision": "fp16"}}, ["--precision 'fp16': expected 'auto', "]),
        (
            {"schedule": {"total_steps": 1}, "disk_gigabytes": -2.5, "parallel": 0},
            ["--parallel 0: ", "--steps 1: ", "--disk -2.5: "],
        ),
        ({"limits": {"silent_seconds": 0}}, ["--silent-after 0: expected a number above 0"]),
        ({"schedule": {"pass_k": 16}}, ["--pass-k: 16 is more than the --pass-samples of 8"]),
        ({"budget": {"amount": 1, "unit": "trials"}}, ["--budget: 1 trials: at least 2 trials"]),
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
    assert explain(caught.value).startswith("  - state 'gone': expected 'completed', ")


@pytest.mark.parametrize(
    ("pass_k", "pass_samples", "expected"),
    [(None, None, None), (4, None, 8), (16, None, 16), (16, 4, 4), (2, 64, 64)],
)
def test_there_are_enough_samples_for_pass_at_k(
    pass_k: int | None, pass_samples: int | None, expected: int | None
) -> None:
    assert samples_of(pass_k, pass_samples) == expected


def test_a_folder_whose_name_is_not_utf8_gets_one_that_can_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    folder = write_dataset(tmp_path / os.fsdecode(b"caf\xe9 1"))
    name = settled(str(folder))
    assert name.endswith("/caf%E9 1")
    assert settled(str(folder)) == name
    run = TuneSettings(dataset=name, model="tiny-100k")
    assert TuneSettings.model_validate_json(run.model_dump_json()) == run
    assert load_dataset(name).fingerprint == fingerprint(folder)
    assert settled(str(tmp_path / "home")) == str(tmp_path / "home")


@pytest.mark.parametrize("command", ["tune", "recurring"])
def test_any_file_that_is_read_may_be_given_as_the_help_says(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli.app, [command, "--help"]).output.split())
    assert "Catalog name, folder or file" in text
    assert ".jsonl" not in text
