"""What is shown without a terminal: one line for each phase and each trial."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from flows.terminal.json_lines import JsonLines
from flows.terminal.pace import Pace
from flows.terminal.progress import CollectProgress, LiveProgress
from tasks.config.settings import Budget
from tasks.monitoring.observers import (
    BudgetSpent,
    DatasetsProbed,
    ObserverGroup,
    PhaseProgress,
    RunStarted,
    TrialFinished,
    TrialLogged,
)
from tasks.runs.formatting import finished_before
from tests.tasks.conftest import MakeRun, on_proxy
from trials.spec.records import Failure, Fidelity, TrialResult, TrialSpec

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
        progress.notify(TrialFinished(spec, DONE))
        progress.notify(TrialFinished(spec, FAILED))
    phase, done, failed = lines(console)
    assert phase == "searching"
    for part in ("0.500 ± 0.020", "share 0.5", "dpo share 0.2", "dpo lr 3e-06", "lora"):
        assert part in done
    assert "None" not in done
    assert "failed: hung" in failed


@pytest.mark.parametrize("width", [60, 160])
def test_a_trial_of_a_proxy_is_told_as_one_and_is_never_the_best(
    make_run: MakeRun, spec: TrialSpec, width: int
) -> None:
    console = Console(file=io.StringIO(), width=width)
    smaller = spec.model_copy(update={"fidelity": Fidelity(model="models/tiny-s", fraction=1.0)})
    with LiveProgress(console) as progress:
        progress.notify(RunStarted(on_proxy(make_run(trials=1)).info()))
        progress.notify(TrialFinished(smaller, DONE.model_copy(update={"score": 0.9})))
        progress.notify(TrialFinished(spec, DONE))
        progress.notify(TrialFinished(smaller, DONE.model_copy(update={"score": 0.1})))
    first, own, last = lines(console)[-3:]
    length = "100% of the schedule" if width == 160 else "100%"
    assert f"{length} on tiny-s  0.900 ± 0.020" in first
    assert f"{length}  0.500 ± 0.020" in own
    assert own.endswith("best 0.500") == (width == 160)
    assert f"{length} on tiny-s  0.100 ± 0.020" in last
    assert "best" not in first + last


def test_trials_that_had_finished_before_are_not_told_again(
    console: Console, spec: TrialSpec
) -> None:
    told = io.StringIO()
    with LiveProgress(console) as progress:
        everybody = ObserverGroup([progress, JsonLines(told)])
        everybody.notify(TrialFinished(spec, DONE, replayed=True))
        everybody.notify(TrialFinished(spec, FAILED))
    [line] = lines(console)
    assert "failed: hung" in line
    assert line.endswith("best 0.500")  # but it counts
    assert [json.loads(each)["event"] for each in told.getvalue().splitlines()] == 2 * ["trial"]


def test_how_many_had_finished_before() -> None:
    trials, time = Budget(amount=6, unit="trials"), Budget(amount=600, unit="seconds")
    assert finished_before(2, trials) == "2 of 6 trials were finished before"
    assert finished_before(1, time) == "1 trial was finished before"
    assert finished_before(3, time) == "3 trials were finished before"


def test_trials_of_a_collect_run_are_told(console: Console, spec: TrialSpec) -> None:
    with CollectProgress(console, 2) as progress:
        progress.notify(TrialFinished(spec, DONE))
        assert lines(console) == ["1/2 trials  0.500"]  # at once, and not at the end
        progress.notify(TrialFinished(spec, FAILED))
    assert "2/2 trials  failed" in lines(console)


def test_a_collect_run_tells_on_how_many_datasets_the_model_was_measured(console: Console) -> None:
    with CollectProgress(console, 2) as progress:
        progress.notify(DatasetsProbed(1, 3))
        assert lines(console) == ["base model measured on 1/3 datasets"]


def test_a_collect_run_tells_where_its_rates_begin(console: Console) -> None:
    with CollectProgress(console, 2) as progress:
        progress.message("learning rates: SFT 1.0e-3")
    assert lines(console) == ["learning rates: SFT 1.0e-3"]


def test_how_far_a_phase_is_and_what_is_said_reach_every_observer(console: Console) -> None:
    told = io.StringIO()
    with LiveProgress(console) as progress:
        everybody = ObserverGroup([progress, JsonLines(told)])
        everybody.notify(PhaseProgress(3, 12))
        everybody.message("a full trial takes [2 min]\n6 of them fit")
    assert lines(console) == ["a full trial takes [2 min]", "6 of them fit"]
    assert [json.loads(line) for line in told.getvalue().splitlines()] == [
        {"event": "progress", "done": 3, "total": 12},
        {"event": "message", "text": "a full trial takes [2 min]\n6 of them fit"},
    ]


def test_names_from_outside_are_text(console: Console, make_run: MakeRun, spec: TrialSpec) -> None:
    name = "a[red]b[/x] \x1b[2J [link=http://evil.example]c[/link]"
    info = make_run().info()
    dataset = info.dataset.model_copy(update={"name": name, "reward": "[/]"})
    with LiveProgress(console) as progress:
        progress.notify(RunStarted(info.model_copy(update={"dataset": dataset, "model": name})))
        progress.phase(name)
        progress.notify(
            TrialFinished(spec.model_copy(update={"config": {"adapter": "[/dim]"}}), DONE)
        )
    text = "\n".join(lines(console))
    assert text.count(r"a[red]b[/x] \x1b[2J [link=http://evil.example]c[/link]") == 3
    assert "\x1b" not in text
    assert "[/dim]" in text


@pytest.mark.parametrize("unit", ["trials", "full", "seconds"])
def test_the_rest_of_a_budget_is_foreseen(unit: Any) -> None:
    now = [100.0]
    pace = Pace(Budget(amount=1200 if unit == "seconds" else 12, unit=unit), lambda: now[0])
    pace.spent(0.25)  # of a run that is resumed
    now[0] += 300.0
    pace.spent(0.5)
    told = {
        "trials": "6 of 12 trials, about 10 min left",
        "full": "6.0 of 12 full-trial equivalents, about 10 min left",
        "seconds": "10 min 00 s of 20m, about 10 min left",
    }
    assert str(pace) == told[unit]
    now[0] += 300.0
    assert str(pace).endswith("about 5 min left")
    pace.spent(1.0)
    assert "left" not in str(pace)


def test_nothing_is_foreseen_before_something_was_spent() -> None:
    pace = Pace(Budget(amount=12, unit="trials"))
    pace.spent(0.0)
    assert str(pace) == "0 of 12 trials"


def test_a_long_phase_without_a_terminal_says_now_and_then_how_far_it_is(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.terminal.progress.TELL_SECONDS", 0.0)
    with LiveProgress(console) as progress:
        progress.phase("probing")
        progress.notify(PhaseProgress(3, 12))
        progress.notify(PhaseProgress(0.5, 0.8))
    assert lines(console) == ["probing", "3 of 12", "62%"]


@pytest.mark.parametrize("width", [40, 50, 80, 120])
def test_each_bar_is_one_line_however_narrow_the_terminal(
    make_run: MakeRun, spec: TrialSpec, width: int
) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    progress = LiveProgress(console)  # not started: nothing is drawn but what is looked at here
    progress.notify(RunStarted(make_run().info()))
    progress.phase("running the finalists at full length")
    progress.notify(BudgetSpent(0.25))
    for name in ("000-a", "001-b"):
        event = {"kind": "metric", "stage": "rl", "step": 7, "values": {"reward": 0.125}}
        progress.notify(TrialLogged(spec.model_copy(update={"trial_id": name}), event))
    drawn = console.render_lines(progress._progress.get_renderable(), pad=False)
    text = ["".join(segment.text for segment in line) for line in drawn]
    assert len(text) == 4, text
    assert all(len(line) <= width for line in text)
    assert "run" in text[0]
    assert "finalists" in text[0]
    assert "reward 0.125" in text[2]
