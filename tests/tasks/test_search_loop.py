"""The loop's bookkeeping: what a resumed run may do again, and what it may not."""

from __future__ import annotations

import pytest

from tasks.ledger import Ledger
from tasks.run_folder import ProposalRecord, RunFolder
from tasks.search_loop import SearchLoop
from tasks.settings import Budget, TuneSettings
from trials.launch import Supervisor


def loop_after(tmp_path, recorded, elapsed):
    """A loop on a run folder with recorded proposals: (phase, whether its trial finished)."""
    run = RunFolder(tmp_path)
    for order, (phase, finished) in enumerate(recorded):
        record = ProposalRecord(
            order=order,
            trial_id=f"{order:03d}-x",
            proposal_id=f"{order + 1:04d}",
            phase=phase,
            origin="new",
            fraction=1.0,
            config={},
        )
        run.trial_folder(record.trial_id).mkdir(parents=True)
        run.add_proposal(record)
        if finished:
            (run.trial_folder(record.trial_id) / "result.json").touch()
    clock = iter([0.0])
    ledger = Ledger(
        tmp_path / "ledger.json",
        Budget(amount=1000, unit="seconds"),
        clock=lambda: next(clock, elapsed),
    )
    settings = TuneSettings(dataset="d", model="m", budget=Budget(amount=1000, unit="seconds"))
    return SearchLoop(run, settings, None, None, ledger, Supervisor(), lambda *_: None)


@pytest.mark.parametrize("elapsed", [0.0, 900.0, 5000.0])
def test_finished_trials_are_replayed_however_late_it_is(tmp_path, elapsed):
    loop = loop_after(tmp_path, [("explore", True), ("explore", True), ("finish", True)], elapsed)
    assert loop._allows("explore", 0.0)
    loop._order = 1
    assert loop._allows("explore", 0.0)
    # The third belongs to the other phase, whatever the budget would still allow.
    loop._order = 2
    assert not loop._allows("explore", 0.0)
    assert loop._allows("finish", 0.0)


def test_an_unfinished_trial_is_run_again_only_while_the_budget_lasts(tmp_path):
    early = loop_after(tmp_path / "early", [("explore", False)], 10.0)
    late = loop_after(tmp_path / "late", [("explore", False)], 999.0)
    assert early._allows("explore", 0.0)
    assert not late._allows("explore", 0.0)
