"""Runs are kept, found again and never mixed up; what is asked of them is answered in words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.replay import store
from benchmarks.replay.goals import goals
from benchmarks.replay.loop import Trace
from benchmarks.replay.picture import regret_figure
from benchmarks.replay.results import ALL_SHARES, SHARES, Results, band, load_results, summarise
from benchmarks.replay.run import Plan, run, run_job
from benchmarks.replay.store import Job, Settings
from benchmarks.replay.strategies import STRATEGIES
from surrogates.space.encoding import SpaceEncoder
from tests.benchmarks.replay.small_history import MODEL, history, space
from trials.io.errors import SettingsError

JOB = Job("random", "none", "d0")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    rows, encoder = history(), SpaceEncoder(space())
    monkeypatch.setattr(store, "history", lambda: rows)
    monkeypatch.setattr(store, "encoder_of", lambda name: encoder)
    for name in ("table", "other_datasets", "_history_fingerprint"):
        monkeypatch.setattr(store, name, cache(getattr(store, name).__wrapped__))
    return Settings(MODEL, "any", 4.0, tmp_path)


def test_what_was_played_is_not_played_again(settings: Settings):
    assert store.missing_seeds(settings, JOB, range(3)) == [0, 1, 2]
    run_job(settings, JOB, [0, 2])
    assert store.missing_seeds(settings, JOB, range(3)) == [1]
    run_job(settings, JOB, [1])
    file = store.trace_file(settings, JOB)
    before = file.read_bytes()
    plan = Plan.of(["random"], ["true"], ["d0"], 3)
    assert plan.jobs == (JOB,)
    assert run(settings, plan, 1, Console(quiet=True)) == {}
    assert file.read_bytes() == before
    assert sorted(store.read_traces(file)) == [0, 1, 2]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_other_settings_and_another_history_are_other_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    ranker = Job("ranker", "true", "d0")
    files = {store.trace_file(settings, JOB), store.trace_file(settings, ranker)}
    dearer = Settings(settings.model, settings.space, 5.0, settings.results)
    files.add(store.trace_file(dearer, JOB))
    rows = store.history()
    more = pd.concat([rows, rows[rows["dataset_id"] == "d1"].assign(dataset_id="new")])
    monkeypatch.setattr(store, "history", lambda: more)
    for name in ("table", "other_datasets", "_history_fingerprint"):
        monkeypatch.setattr(store, name, cache(getattr(store, name).__wrapped__))
    files.add(store.trace_file(settings, ranker))
    assert len(files) == 4
    assert store.trace_file(settings, JOB) in files  # which learns nothing from other datasets


def test_a_plan_has_each_strategy_with_the_histories_that_it_is_played_with():
    plan = Plan.of(["autopipe", "gp", "ranker"], ["true", "inverted"], ["d0"], 2)
    assert [(job.strategy, job.variant) for job in plan.jobs] == [
        ("autopipe", "true"), ("autopipe", "inverted"), ("gp", "none"), ("ranker", "true")
    ]  # fmt: skip


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plan = Plan.of(["random", "smac", "syne-cqr"], ["true"], ["d0"], 1)
    assert plan.left_out == ("smac", "syne-cqr")
    assert plan.jobs == (JOB,)


def test_runs_become_numbers_and_what_is_missing_is_said(settings: Settings):
    plan = Plan.of(["random", "sobol"], ["true"], ["d0", "d1"], 3)
    with pytest.raises(SettingsError, match=r"run: python -m benchmarks\.replay run"):
        load_results(settings, plan)
    for job in plan.jobs[:3]:
        run_job(settings, job, plan.seeds)
    results = load_results(settings, plan)
    assert results.remarks == [
        "3 of 12 runs are missing; add them: python -m benchmarks.replay run"
    ]
    assert results.curves["random", "none"].shape == (2, len(ALL_SHARES))
    assert results.curves["sobol", "none"].shape == (1, len(ALL_SHARES))
    task = store.table(settings, "d0")
    traces = store.read_traces(store.trace_file(settings, JOB)).values()
    expected = np.mean([Trace(**line).at(np.array([1.0]))[0] for line in traces])
    assert results.curves["random", "none"].loc["d0", 1.0] == expected
    assert all(line["budget"] == 4.0 * task.mean_cost for line in traces)
    rows = summarise(results)
    assert len(rows) == 2 * len(SHARES)
    assert (rows["low"] <= rows["regret"]).all()
    assert (rows["regret"] <= rows["high"]).all()
    names = [trace.name for trace in regret_figure(results).data if trace.showlegend is not False]
    assert names == ["random", "sobol"]


def test_a_band_is_of_datasets_and_the_same_each_time():
    curves = np.random.default_rng(0).random((24, 3))
    mean, low, high = band(curves)
    assert mean == pytest.approx(curves.mean(axis=0))
    se = curves.std(axis=0, ddof=1) / np.sqrt(24)
    assert high - low == pytest.approx(2 * 1.96 * se, rel=0.15)
    assert all((a == b).all() for a, b in zip(band(curves), (mean, low, high), strict=True))


def results_with(levels: dict[tuple[str, str], list[float]]) -> Results:
    """Two datasets with flat curves at the given mean, 0.01 above and below."""
    curves = {
        key: pd.DataFrame(np.add(level, [[0.01], [-0.01]]), ["a", "b"], SHARES)
        for key, level in levels.items()
    }
    return Results(curves, dict.fromkeys(levels, 1), dict.fromkeys(levels, 0.1), [])


def test_goals_are_judged_by_their_own_words():
    falling = [0.5, 0.3, 0.3, 0.2, 0.2, 0.2, 0.2]
    levels = {
        ("autopipe", "true"): [0.4, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1],
        ("autopipe", "shuffled"): [1.0, 1.0, 1.0, 0.21, 0.2, 0.2, 0.2],
        ("autopipe", "inverted"): [1.0, 1.0, 1.0, 0.21, 0.2, 0.25, 0.2],
        ("gp", "none"): falling,
        ("random", "none"): falling,
        ("syne-quantile", "true"): [0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2],
    }
    said = "\n".join(goals(results_with(levels)))
    assert "peer without transfer at 100 %: autopipe 0.1500, random 0.2000 -> reached" in said
    assert "best peer of any kind -> not reached" in said
    assert "5%: autopipe 0.4000, syne-quantile 0.3000 -> not reached" in said
    assert (
        "with the shuffled history within 10 % of gp's regret from a third of the budget on -> r"
        in said
    )
    assert (
        "with the inverted history within 10 % of gp's regret from a third of the budget on -> n"
        in said
    )
    assert "75%: autopipe 0.2500, gp 0.2000, ratio 1.25; paired difference +0.0500 ± 0.0000" in said


def test_a_goal_without_its_runs_is_open():
    said = goals(results_with({("gp", "none"): [0.1] * 7}))
    assert len(said) == 4
    assert all(line.endswith("-> open") for line in said)


def test_the_table_of_strategies_names_what_is_there():
    kinds = {strategy.kind for strategy in STRATEGIES.values()}
    assert kinds == {"own", "ablation", "peer", "transfer peer"}
    assert all(s.variants != ("none",) for s in STRATEGIES.values() if s.kind == "transfer peer")
