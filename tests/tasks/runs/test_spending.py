"""A run that goes on: what it has spent is counted from its folder, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.cli.running import resumable_run
from tasks.config.settings import Budget, TuneSettings
from tasks.monitoring.observers import Message, RunEvent, RunFinished, RunObserver
from tasks.runs.folder import RunFolder
from tasks.runs.ledger import LEDGER
from tasks.runs.spending import Spending, check_budget, finished_notice
from tasks.runs.versions import FILE, RunVersions, winner_name
from tasks.search.naming import resolve_settings
from tests.tasks.conftest import MakeRun
from trials.io.errors import SettingsError
from trials.spec.records import TrialResult, read_record, write_json


class Seen(RunObserver):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notify(self, event: RunEvent) -> None:
        if isinstance(event, Message):
            self.told.append(event.text)
        elif isinstance(event, RunFinished):
            self.told.append("ended")


def counted(run: RunFolder, number: int, flops: float) -> None:
    """Gives a trial that counted so much."""
    file = run.trial_folder(f"t{number:03d}") / "result.json"
    result = read_record(file, TrialResult)
    cost = result.cost.model_copy(update={"flops": flops})
    write_json(file, result.model_copy(update={"cost": cost}))


@pytest.fixture
def run(make_run: MakeRun) -> RunFolder:
    """Four trials, the last of which a kill cut short, and ten minutes."""
    run = make_run(trials=4, finished=False)
    for number, flops in enumerate((100.0, 30.0, 0.0)):  # the third had nothing left to run
        counted(run, number, flops)
    write_json(run.path / LEDGER, {"elapsed_seconds": 600.0})
    return run


@pytest.fixture
def done(make_run: MakeRun, tmp_path: Path) -> RunFolder:
    """A finished run with all that the end of a run makes."""
    budget = Budget(amount=1500, unit="seconds")
    run, history = make_run(trials=3, budget=budget), tmp_path / "history"
    history.mkdir()
    (history / f"{run.run_id}.parquet").touch()
    info = run.info()
    joined = info.history.model_copy(update={"folder": str(history)})
    run.write_info(info.model_copy(update={"history": joined}))
    for name in ("report.html", "best/README.md", "plan.json"):
        (run.path / name).write_text("x")
    winner = winner_name(info.dataset.name, info.model)
    write_json(run.path / FILE, RunVersions(wrote={winner: "revision"}))
    write_json(run.path / LEDGER, {"elapsed_seconds": 1450.0})
    return run


def test_what_is_spent_is_counted_in_every_unit(run: RunFolder) -> None:
    assert Spending.of(run) == Spending(trials=2, full=pytest.approx(1.3), seconds=600.0)


@pytest.mark.parametrize(
    ("budget", "spent", "more"),
    [
        ("2", "2 trials", "--budget 3"),
        ("1.3 full", "1.3 full-trial equivalents", "--budget '2 full'"),
        ("1 full", "1.3 full-trial equivalents", "--budget '2 full'"),
        ("10m", "10 min 00 s", "--budget 15m"),
        ("5m", "10 min 00 s", "--budget 15m"),
    ],
)
def test_a_budget_that_is_spent_is_refused_before_anything_is_written(
    run: RunFolder, budget: str, spent: str, more: str
) -> None:
    before = (run.path / "run.json").read_bytes()
    given = run.info().settings.model_copy(update={"budget": Budget.parse(budget)})
    for refused in (
        lambda: resolve_settings(run, given),
        lambda: resumable_run(str(run.path), given.budget, None, RunObserver()),
    ):
        with pytest.raises(SettingsError) as caught:
            refused()
        assert f"has spent {spent} already" in str(caught.value)
        assert f"--resume {run.run_id} {more}" in str(caught.value)
    assert (run.path / "run.json").read_bytes() == before


def test_a_budget_in_trials_is_refused_for_a_run_with_proxies_as_for_a_new_one(
    run: RunFolder,
) -> None:
    own = run.info().settings.model_copy(update={"proxies": ("tiny-s",)})
    run.write_info(run.info().model_copy(update={"settings": own}))
    before, budget = (run.path / "run.json").read_bytes(), Budget.parse("12")
    with pytest.raises(ValidationError) as new:
        TuneSettings(dataset="d", model="m", proxies=("tiny-s",), budget=budget)
    [problem] = new.value.errors()
    given = own.model_copy(update={"budget": budget})
    for refused in (
        lambda: resolve_settings(run, given),
        lambda: resumable_run(str(run.path), budget, None, RunObserver()),
    ):
        with pytest.raises(SettingsError) as caught:
            refused()
        said, command = str(caught.value).splitlines()
        assert said == problem["msg"].removeprefix("Value error, ")
        assert command == f"  resume with: autopipe tune --resume {run.run_id} --budget 15m"
    assert (run.path / "run.json").read_bytes() == before
    longer = own.model_copy(update={"budget": Budget.parse("40m")})
    assert resolve_settings(run, longer) == longer


@pytest.mark.parametrize("budget", ["3", "1.4 full", "11m"])
def test_a_larger_one_is_not(run: RunFolder, budget: str) -> None:
    check_budget(run, Budget.parse(budget))
    going = resumable_run(str(run.path), Budget.parse(budget), None, RunObserver())
    assert going is not None
    assert going[1].budget == Budget.parse(budget)


def test_a_finished_run_says_so_and_starts_nothing(done: RunFolder) -> None:
    for budget in (None, done.info().settings.budget):
        seen = Seen()
        assert resumable_run(str(done.path), budget, None, seen) is None
        [told, ended] = seen.told
        assert "run run-1 is finished: 24 min 10 s of its budget of 25m are spent" in told
        assert "autopipe report run-1" in told
        assert "autopipe tune --resume run-1 --budget 37m" in told
        assert ended == "ended"


def test_with_a_larger_budget_it_goes_on(done: RunFolder) -> None:
    assert resumable_run(str(done.path), Budget.parse("40m"), None, Seen()) is not None


@pytest.mark.parametrize(
    "lost",
    [
        "summary.json",
        "report.html",
        "best/README.md",
        "observations.json",
        "plan.json",
        FILE,
        "trials/t001/result.json",
        "../../history/run-1.parquet",
    ],
)
def test_what_is_missing_of_it_is_made_again(done: RunFolder, lost: str) -> None:
    budget = done.info().settings.budget
    assert finished_notice(done, budget) is not None
    (done.path / lost).unlink()
    assert finished_notice(done, budget) is None
    assert resumable_run(str(done.path), None, None, Seen()) is not None


def test_another_history_is_joined(done: RunFolder, tmp_path: Path) -> None:
    assert resumable_run(str(done.path), None, tmp_path / "other", Seen()) is not None


def test_a_summary_of_before_budgets_were_noted_says_nothing_of_them(done: RunFolder) -> None:
    summary = done.summary()
    assert summary is not None
    done.write_summary(summary.model_copy(update={"budget": None}))
    assert resumable_run(str(done.path), None, None, Seen()) is not None
