"""What a command took before its flow, and budgets that are over before anything could be done."""

from __future__ import annotations

import time

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.config import started
from tasks.config.settings import Budget
from tasks.config.started import check_time, counted_from_start, seconds_before, slowdown
from trials.io.errors import SettingsError


def test_a_time_budget_counts_from_the_start_of_the_command() -> None:
    assert seconds_before() == 0.0  # a flow that another program calls
    with counted_from_start():
        first = seconds_before()
        time.sleep(0.05)
        assert seconds_before() >= first + 0.05
        assert first > 0.1  # pytest had to start
    assert seconds_before() == 0.0


def test_next_to_no_time_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started, "slowdown", lambda: 1.0)
    for budget in ("1m", "2", "1 full"):
        check_time(Budget.parse(budget))
    check_time(None)
    with pytest.raises(SettingsError, match=r"30s is too short: .* about 50 s .*\n.*--budget 2m"):
        check_time(Budget.parse("30s"))


@pytest.mark.parametrize(
    ("options", "other", "unusable"),
    [
        ([], "a number of trials, as --budget 12", "full"),
        (["--proxy", "tiny-100k"], "compute, as --budget '6 full'", "12"),
        (["--resume", "RUN"], "compute, as --budget '6 full'", "12"),
    ],
)
def test_another_budget_is_offered_that_the_run_may_have(
    options: list[str], other: str, unusable: str
) -> None:
    given = ["tune", *options, "--budget", "2s"]
    refused = CliRunner(env={"COLUMNS": "200"}).invoke(app, given)
    assert refused.exit_code == 2
    assert f"m or more, or {other}" in " ".join(refused.output.split())
    assert f"--budget {unusable}" not in refused.output.replace("'", "")


def test_on_a_busy_machine_more_time_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started, "slowdown", lambda: 4.0)
    check_time(Budget.parse("5m"))
    with pytest.raises(
        SettingsError, match=r"it is busy: everything takes 4\.0 times as long\n.* 7m"
    ):
        check_time(Budget.parse("2m"))


@pytest.mark.parametrize(("load", "expected"), [(0.0, 1.0), (1000.0, None)])
def test_one_sign_of_a_busy_machine_alone_is_none(
    monkeypatch: pytest.MonkeyPatch, load: float, expected: float | None
) -> None:
    """Cores may be set apart for this process, whatever waits for the others."""
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    found = slowdown()
    assert found >= 1.0
    assert found < 1000.0 / 64
    if expected is not None:
        assert found <= max(expected, 1.0)
