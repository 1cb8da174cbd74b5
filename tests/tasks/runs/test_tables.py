"""A run folder as tables of trials and curve points."""

from __future__ import annotations

import pytest

from tasks.runs import tables as run_tables
from tasks.runs.tables import RunTables
from tests.tasks.conftest import MakeRun, on_proxy


def test_tables_keep_the_order_of_the_proposals_and_join_what_is_known(make_run: MakeRun) -> None:
    tables = RunTables.read(make_run())
    trials = tables.trials.set_index("trial_id")
    assert list(trials.index) == [f"t{index:03d}" for index in range(12)]
    assert trials.loc["t006", "continues"] == "t001"
    assert trials.loc["t006", "final"] == trials.loc["t006", "score"]
    assert trials.loc["t008", "final"] == trials.loc["t008", "predicted"]
    assert trials.loc["t004", "reason"] == "out_of_memory"
    assert trials.loc["t007", "reason"] == "kl_growth at step 24"
    assert trials.cumulative_seconds.iloc[-1] == pytest.approx(trials.seconds.sum())
    assert tables.best_row is not None
    assert tables.best_row.trial_id == "t010"
    assert "lora_rank" in tables.varied


def test_a_prediction_is_an_observation_only_with_a_score(make_run: MakeRun) -> None:
    run = make_run(trials=7, finished=False)
    guesses = [{"trial_id": f"t{i:03d}", "predicted": 0.9, "predicted_sd": 0.1} for i in range(7)]
    run.write_observations(guesses)
    trials = RunTables.read(run).trials.set_index("trial_id")
    assert trials.loc["t004", "state"] == "failed"
    assert trials.loc["t006", "state"] == "unfinished"
    assert trials.final.isna().tolist() == [False] * 4 + [True, False, True]
    assert trials.loc["t001", "final"] == 0.9
    # Without an opinion of now, the one at the time of the proposal counts.
    assert trials.prior.notna().all()


def test_a_proxy_has_no_final_score_of_the_target_and_varies_nothing(make_run: MakeRun) -> None:
    run = make_run()
    assert not RunTables.read(run).proxied
    tables = RunTables.read(on_proxy(run, *(f"t{index:03d}" for index in range(1, 12))))
    trials = tables.trials.set_index("trial_id")
    assert tables.proxied
    assert trials.model.tolist() == [""] + 11 * ["tiny-s"]
    assert trials.score.notna().sum() == 11
    assert trials.final.notna().tolist() == [True] + 11 * [False]
    assert tables.varied == []


def test_trial_ids_are_shortened_where_they_stay_apart() -> None:
    assert run_tables._labels(["000-ab12", "001-cd34"]) == ["000", "001"]
    assert run_tables._labels(["000-ab12", "000-cd34"]) == ["000-ab12", "000-cd34"]
    assert run_tables._labels(["a", "-b"]) == ["a", "-b"]


def test_an_unfinished_trial_is_read_from_its_events(make_run: MakeRun) -> None:
    tables = RunTables.read(make_run(trials=2, finished=False))
    assert tables.trials.state.tolist() == ["completed", "unfinished"]
    assert set(tables.curves[tables.curves.trial_id == "t001"].metric) >= {"loss", "score"}
