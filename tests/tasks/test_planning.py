"""The plan of a run that goes on: measured before, told as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.ledger import Ledger
from tasks.planning import planned
from tasks.run_folder import PLAN, RunFolder
from tasks.settings import Budget, TuneSettings
from tasks.spaces import load_space
from tasks.time_plan import unmeasured
from trials.records import write_json

NOT_LOOKED_AT: Any = None
WHEN_IT_BEGAN = "plan: about 9 fit in what is left of 25m; finished by 14:05, in 24 min at most"


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
        plan = planned(settings, run, NOT_LOOKED_AT, space, NOT_LOOKED_AT, [], ledger)
        return plan.text, ledger

    text, ledger = goes_on("40m")
    assert "a full trial takes about 2 min 00 s" in text
    assert "10 min 00 s of 40m are left for trials" in text
    assert "14:05" not in text
    assert ledger.left == 600.0
    assert "0.0 s of 25m are left" in goes_on("25m")[0]
    assert "the budget is 20 trials" in goes_on("20")[0]
