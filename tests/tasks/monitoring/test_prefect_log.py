"""A run in the log: one line an event, the text of training processes, no secrets."""

from __future__ import annotations

import logging
import time

import pytest

from tasks.monitoring.observers import RunFinished, RunStarted, TrialFinished
from tasks.monitoring.prefect_log import PrefectRunLog
from tests.tasks.conftest import MakeRun, on_proxy
from trials.io.redact import MASK


def test_events_are_lines(make_run: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = make_run()
    trials = {trial.spec.trial_id: trial for trial in run.trials()}
    with PrefectRunLog(run) as log:
        log.phase("searching")
        log.notify(RunStarted(run.info()))
        for name in ("t001", "t004", "t007"):
            log.notify(TrialFinished(trials[name].spec, trials[name].result))
        log.notify(RunFinished(run.summary()))
    text = caplog.text
    assert "searching" in text
    assert "budget 25m" in text
    assert "trial t001 at 30 % of full length" in text
    assert "trial t004 failed" in text
    assert "stopped by" in text


def test_a_trial_of_a_proxy_is_told_with_its_model(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = on_proxy(make_run(), "t001", "t004")
    with PrefectRunLog(run) as log:
        log.notify(RunStarted(run.info()))
        for trial in run.trials():
            assert trial.result is not None
            log.notify(TrialFinished(trial.spec, trial.result))
    assert "trial t000 at 100 % of full length" in caplog.text
    assert "trial t001 on tiny-s at 30 % of full length" in caplog.text
    assert "trial t004 on tiny-s failed" in caplog.text


def test_what_processes_print_is_followed_from_now_on(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("SOME_TOKEN", "very-secret-value")
    run = make_run()
    file = run.trial_folder("t001") / "log.txt"
    file.write_text("of an earlier life\n")
    with PrefectRunLog(run), file.open("a") as stream:
        stream.write("step 1\rstep 2\rstep 3\nlogging in with very-secret-value\nhalf a li")
        stream.flush()
        deadline = time.monotonic() + 10
        while "logging in" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.1)
    lines = [r.getMessage() for r in caplog.records]
    assert "t001 | step 3" in lines
    assert f"t001 | logging in with {MASK}" in lines
    assert not any("earlier life" in line or "half" in line for line in lines)
