"""Runs are kept and found again, and become ratios to the search without proxies."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.levels import store
from benchmarks.levels.family import family_of
from benchmarks.levels.results import compared, goals, load, remarks, summary, tables
from benchmarks.levels.run import run, run_job
from benchmarks.levels.store import Job
from tests.benchmarks.levels.small_family import encoder, rows
from trials.io.errors import SettingsError

JOBS = [Job(arm, "d0", 3.0, 10) for arm in ("alone", "both", "random")]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "encoder", encoder)
    made = cache(lambda dataset, variant: family_of(rows(), dataset, encoder(), variant))
    monkeypatch.setattr(store, "family", made)
    return tmp_path


def test_what_was_played_is_not_played_again_and_older_code_is(
    results: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SettingsError, match="nothing was run"):
        load(results, JOBS, [0])
    assert run_job(results, JOBS[0], [0, 2]) == 2
    assert store.missing_seeds(results, JOBS[0], range(3)) == [1]
    before = store.run_file(results, JOBS[0]).read_bytes()
    assert run(results, JOBS[:1], [0, 2], 1, Console(quiet=True)) == {}
    assert store.run_file(results, JOBS[0]).read_bytes() == before
    monkeypatch.setattr(store, "code_version", lambda arm: "another")
    assert store.missing_seeds(results, JOBS[0], range(3)) == [0, 1, 2]
    assert not load(results, JOBS, [0, 2])["current"].any()


def test_each_arm_and_budget_is_a_row_with_what_its_trials_cost(results: Path):
    for job in JOBS:
        run_job(results, job, [0])
    runs = load(results, JOBS, [0])
    found = summary(runs).set_index("arm")
    assert found.loc["alone", "proxy_share"] == 0.0
    assert found.loc["both", "proxy_share"] > 0.05
    assert found.loc["both", "tiny-100k trials"] > found.loc["both", "tiny-4m trials"]
    assert np.isnan(found.loc["both", "ratio"])  # of one dataset there is no error
    assert [table.row_count for table in tables(runs)] == [2, 1]
    assert goals(runs) == []
    assert remarks(runs, JOBS, [0]) == []
    assert "3 of 6 runs are missing" in remarks(runs, JOBS, [0, 1])[0]


def test_a_ratio_is_that_of_the_means_with_its_error_over_datasets(results: Path):
    run_job(results, JOBS[0], [0])
    [row] = load(results, JOBS[:1], [0]).to_dict("records")
    regrets = {("alone", "a"): 1.0, ("alone", "b"): 0.5, ("both", "a"): 0.5, ("both", "b"): 0.25}
    made = [
        row | {"arm": arm, "dataset": dataset, "regret": regret}
        for (arm, dataset), regret in regrets.items()
    ]

    assert compared(pd.DataFrame(made), "regret", "both", 3.0) == pytest.approx((0.5, 0.0))
    [line] = goals(pd.DataFrame(made))
    assert "0.50" in line
    assert line.endswith("-> reached")
    assert not goals(pd.DataFrame(made[:3]))
