from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from prefect.exceptions import TerminationSignal

from flows.cli.errors import friendly_errors
from flows.terminal.json_lines import JsonLines
from tasks.monitoring.observers import (
    BudgetSpent,
    RunFinished,
    RunStarted,
    TrialFinished,
    TrialLogged,
)
from tests.tasks.conftest import MakeRun, on_proxy
from trials.io.errors import SettingsError
from trials.io.redact import MASK


def test_every_line_is_one_object_of_plain_json(make_run: MakeRun) -> None:
    run, stream = make_run(), io.StringIO()
    lines = JsonLines(stream)
    lines.phase("searching")
    lines.notify(RunStarted(run.info()))
    for trial in run.trials():
        lines.notify(
            TrialLogged(
                trial.spec,
                {"kind": "metric", "stage": "sft", "step": 1, "values": {"loss": float("nan")}},
            )
        )
        lines.notify(TrialFinished(trial.spec, trial.result))
    lines.notify(BudgetSpent(0.5))
    lines.notify(RunFinished(run.summary()))
    found = [
        json.loads(line, parse_constant=no_constants) for line in stream.getvalue().splitlines()
    ]
    assert {each["event"] for each in found} == {
        "phase",
        "begun",
        "step",
        "trial",
        "spent",
        "ended",
    }
    failed = [each for each in found if each["event"] == "trial" and each["state"] == "failed"]
    assert failed[0]["failure"]["kind"]
    assert found[-1]["best"]["test"] is not None


def test_a_trial_names_the_proxy_that_it_ran_on(make_run: MakeRun) -> None:
    run, stream = on_proxy(make_run(trials=2), "t001"), io.StringIO()
    lines = JsonLines(stream)
    lines.notify(RunStarted(run.info()))
    for trial in run.trials():
        lines.notify(TrialFinished(trial.spec, trial.result))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["proxy"] for each in told if each["event"] == "trial"] == [None, "tiny-s"]


def test_no_secret_is_told_however_it_is_quoted(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", 'so "called" \\ secret')
    stream = io.StringIO()
    JsonLines(stream).phase('opened with so "called" \\ secret')
    assert json.loads(stream.getvalue()) == {"event": "phase", "text": f"opened with {MASK}"}


ENDINGS = [
    (SettingsError("no such run"), 2, "SettingsError", "no such run"),
    (KeyboardInterrupt(), 130, "KeyboardInterrupt", "interrupted"),
    (TerminationSignal(15), 143, "TerminationSignal", "terminated"),
]


@pytest.mark.parametrize(("error", "code", "name", "text"), ENDINGS)
def test_a_failure_is_an_event_and_text_goes_to_people(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, name: str, text: str
) -> None:
    with pytest.raises(typer.Exit) as ended, friendly_errors(as_json=True):
        raise error
    assert ended.value.exit_code == code
    out, err = capsys.readouterr()
    told = {"event": "failed", "error": name, "message": text, "code": code}
    assert json.loads(out) == told
    assert text in err
    with pytest.raises(typer.Exit), friendly_errors():
        raise error
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(("error", "code"), [(KeyError("bug"), 1), (typer.BadParameter("no"), 2)])
def test_what_is_shown_elsewhere_is_an_event_too(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    with pytest.raises(type(error)), friendly_errors(as_json=True):
        raise error
    assert json.loads(capsys.readouterr().out)["code"] == code


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command with --json, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments, "--json"],
        env=os.environ | {"AUTOPIPE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "no-such-data"),
        pytest.param(("collect", "no-such-data"), marks=pytest.mark.slow),
        pytest.param(("recurring", "x", "--store", "nowhere"), marks=pytest.mark.slow),
    ],
)
def test_a_refused_command_prints_nothing_but_json(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "failed"
    assert events[-1]["code"] == 2
    assert "error:" in done.stderr


@pytest.mark.slow
def test_a_collection_tells_programs_what_it_does(tmp_path: Path) -> None:
    arguments = ["--model", "tiny-100k", "--configurations", "2", "--parallel", "1"]
    arguments += ["--steps", "10", "--eval-rows", "16", "--history", str(tmp_path / "history")]
    done = command(tmp_path, "collect", "gcd", *arguments)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert {"phase", "probed", "step", "trial", "spent"} <= set(kinds)
    assert kinds.count("trial") == 2
    [file] = events[-1]["files"]
    assert kinds[-1] == "ended"
    assert Path(file).parent == tmp_path / "history"


def no_constants(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
