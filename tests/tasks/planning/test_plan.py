"""The plan of a run that goes on: measured before, told as it is now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.config.settings import Budget, TuneSettings
from tasks.inputs.spaces import load_space
from tasks.offline.models import OfflineTraining
from tasks.planning import plan as planning
from tasks.planning.costs import TrialCosts
from tasks.planning.plan import TimePlan, make_plan, plan_proxies, unmeasured
from tasks.runs.folder import PLAN, RunFolder
from tasks.runs.ledger import Ledger
from trials.io.errors import SettingsError
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.records import Pace, read_record, write_json

NOT_LOOKED_AT: Any = None
NOTHING_LEARNED = OfflineTraining([], load_space("sft_grpo"))
WHEN_IT_BEGAN = "plan: about 9 fit in what is left of 25m; finished by 14:05, in 24 min at most"


def test_a_run_that_goes_on_without_a_plan_makes_one_and_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of before there were plans, or its plan was removed; 25 of 30 minutes are over."""
    pace = Pace(loading=6, starting=3, sft_step=8, rl_step=25, scoring=8, saving=1)
    heard: list[float] = []

    def measured(*given: Any) -> TrialCosts:
        heard.append(given[5]())
        fields = {
            "scored_rows": 8,
            "train_rows": 400,
            "pairs": 0,
            "test_rows": 500,
            "validation_rows": 200,
        }
        return TrialCosts(pace=pace, config=Hyperparameters(), start_up=heard[0], **fields)

    monkeypatch.setattr(planning, "warm_up", measured)
    settings = TuneSettings(dataset="d", model="m", budget=Budget.parse("30m"))
    write_json(tmp_path / "ledger.json", {"elapsed_seconds": 1500.0})
    ledger = Ledger(tmp_path / "ledger.json", settings.budget, already=20.0, clock=lambda: 0.0)
    backend: Any = SimpleNamespace(runner=Supervisor([]))
    made = (settings, RunFolder(tmp_path), NOT_LOOKED_AT, load_space("sft_grpo"), backend)
    with pytest.raises(SettingsError, match="too short"):
        make_plan(*made, [Launcher()], ledger, NOTHING_LEARNED)
    (tmp_path / "run.json").touch()
    plan = make_plan(*made, [Launcher()], ledger, NOTHING_LEARNED)
    assert "are left for trials" in plan.text
    assert heard[0] == 20.0  # not what the run had spent before
    assert (tmp_path / PLAN).exists()


def test_a_run_that_goes_on_says_what_is_left_now(tmp_path: Path) -> None:
    settings = TuneSettings(dataset="d", model="m", budget=Budget.parse("40m"))
    made = unmeasured(settings, WHEN_IT_BEGAN).model_copy(
        update={"trial_seconds": 120.0, "overhead_seconds": 20.0, "closing_seconds": 300.0}
    )
    run = RunFolder(tmp_path)
    write_json(tmp_path / PLAN, made)
    write_json(tmp_path / "ledger.json", {"elapsed_seconds": 1500.0})

    def goes_on(budget: str) -> tuple[str, Ledger]:
        ledger = Ledger(tmp_path / "ledger.json", Budget.parse(budget), clock=lambda: 0.0)
        space = load_space("sft_grpo")
        plan = make_plan(
            settings, run, NOT_LOOKED_AT, space, NOT_LOOKED_AT, [], ledger, NOTHING_LEARNED
        )
        return plan.text, ledger

    text, ledger = goes_on("40m")
    assert "a full trial takes about 2 min 00 s" in text
    assert "10 min 00 s of 40m are left for trials" in text
    assert "14:05" not in text
    assert ledger.left == 600.0
    assert "0.0 s of 25m are left" in goes_on("25m")[0]
    assert "the budget is 20 trials" in goes_on("20")[0]


def test_what_proxies_cost_is_kept_with_the_plan_once(tmp_path: Path) -> None:
    settings = TuneSettings(dataset="d", model="m", budget=Budget.parse("40m"))
    run, file = RunFolder(tmp_path), tmp_path / PLAN
    models: Any = [
        SimpleNamespace(model_id=name, meta={}, probe=SimpleNamespace(parameters=size))
        for name, size in (("tiny-100k", 100_000), ("tiny-1m", 1_000_000), ("tiny-4m", 4_000_000))
    ]
    text = plan_proxies(run, models)
    assert not file.exists()  # trials that run on other machines are not planned
    before = unmeasured(settings, WHEN_IT_BEGAN).model_dump(mode="json")
    write_json(file, {k: v for k, v in before.items() if "prox" not in k})  # of an earlier version
    for _ in range(2):
        assert plan_proxies(run, models) == text
        plan = read_record(file, TimePlan)
        assert plan.proxies == {"tiny-100k": 0.025, "tiny-1m": 0.25}
        assert plan.proxy_share == 0.25
        assert plan.text == run.plan_text() == f"{WHEN_IT_BEGAN}\n{text}"
    assert plan_proxies(run, models[-1:]) == ""
