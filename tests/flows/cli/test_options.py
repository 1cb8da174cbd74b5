"""Options: every one sets a field of the settings, and what is wrong with a field names it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from flows.cli import jobs
from flows.cli.app import app
from flows.cli.options import explain, settled
from tasks.config.command import beyond_options, reproduce_command
from tasks.config.options import Options, flags_of, table_of
from tasks.config.settings import CollectSettings, TuneSettings
from tests.trials.helpers import write_dataset
from trials.data.dataset import fingerprint, load_dataset
from trials.spec.records import TrialResult

FLAGS = flags_of(TuneSettings)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[TuneSettings]:
    """Settings of the runs that the command would begin."""
    runs: list[TuneSettings] = []
    monkeypatch.setattr(jobs, "run_tune", lambda settings, *_: runs.append(settings))
    monkeypatch.setattr("tasks.planning.preflight.check_settings", lambda settings: None)
    return runs


@pytest.mark.parametrize(
    ("command", "model"),
    [("tune", TuneSettings), ("recurring", TuneSettings), ("collect", CollectSettings)],
)
def test_the_help_shows_the_table_of_settings(command: str, model: type[BaseModel]) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    rows = [row for row in table_of(model) if row.flag]
    assert len(rows) > 5
    for row in rows:
        [line] = [line for line in lines if line.startswith(f"{row.flag} ")]
        assert row.meaning in line
        assert all(choice in line for choice in row.choices)
        if isinstance(row.default, int | float) and not isinstance(row.default, bool):
            words = row.option is not None and row.option.computed_default
            assert f"[default: ({words})]" in line or f"[default: {row.default:g}]" in line


def test_every_mark_of_an_option_is_of_a_field_that_there_is() -> None:
    for model in (TuneSettings, CollectSettings):
        marked = {
            f"{name}.{inner}"
            for name, info in model.model_fields.items()
            for mark in info.metadata
            if isinstance(mark, Options)
            for inner in mark.of_field
        }
        assert marked <= set(flags_of(model))


# One value of each field that an option sets, none of them its default.
OTHERS: dict[str, Any] = {
    "budget": {"amount": 5400.0, "unit": "seconds"},
    "parallel": 3,
    "seed": 7,
    "space": "sft",
    "strategy": "gp",
    "proxies": ("auto", "owner/smaller"),
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
    "allow_rates": True,
}


# review fault 3
@pytest.mark.parametrize("field", [*(field for field in FLAGS if field != "model"), "all"])
def test_the_command_of_a_report_makes_the_settings_that_it_was_made_of(
    field: str, begun: list[TuneSettings]
) -> None:
    """Each option there and back, and all of them together; nothing is said to have none."""
    given: dict[str, Any] = {"dataset": "gcd", "model": "tiny-1m"}
    together = {"proxies": ["proxies", "budget"]}  # a trial of a proxy is no whole trial
    for name in OTHERS if field == "all" else together.get(field, [field]):
        group, _, inner = name.rpartition(".")
        (given.setdefault(group, {}) if group else given)[inner] = OTHERS[name]
    settings = TuneSettings(**given)
    _, *arguments = shlex.split(reproduce_command(settings))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert begun == [settings]
    assert beyond_options(settings) == []


# review fault 14
@pytest.mark.parametrize("option", ["dataset", "model", "space"])
def test_a_name_means_the_same_whatever_lies_in_the_folder(
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    begun: list[TuneSettings],
) -> None:
    """A name that AutoPipe knows is that name; the folder of that name is asked for by its path."""
    name = {"dataset": "gcd", "model": "tiny-1m", "space": "sft"}[option]
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for given in (name, f"./{name}"):
        options = [given] if option == "dataset" else [f"--{option}", given]
        done = CliRunner().invoke(app, ["tune", *options, "--parallel", "1"])
        assert done.exit_code == 0, done.output
    assert [getattr(settings, option) for settings in begun] == [name, str(tmp_path / name)]
    assert caplog.text.count(f"in this folder write ./{name}") == 1


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
    ("options", "expected"),
    [("", 8), ("--pass-k 4", 8), ("--pass-k 16", 16), ("--pass-k 2 --pass-samples 64", 64)],
)
def test_there_are_enough_samples_for_pass_at_k(
    options: str, expected: int, begun: list[TuneSettings]
) -> None:
    done = CliRunner().invoke(app, ["tune", "--parallel", "1", *options.split()])
    assert done.exit_code == 0, done.output
    assert [settings.schedule.pass_samples for settings in begun] == [expected]


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
    text = " ".join(CliRunner().invoke(app, [command, "--help"]).output.split())
    assert "Catalog name, folder or file" in text
    assert ".jsonl" not in text
