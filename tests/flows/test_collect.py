"""Collect: a design of real trials becomes history rows; what is done is not done again."""

from __future__ import annotations

import json

import pytest

from flows.collect import collect
from tasks.history import read_history, search_history
from tasks.settings import CollectSettings
from trials.records import Schedule


@pytest.fixture
def settings() -> CollectSettings:
    return CollectSettings(
        datasets=["leap_year"],
        model="tiny-100k",
        configurations=3,
        parallel=1,
        batch=3,
        schedule=Schedule(total_steps=10, eval_rows=16),
    )


def test_a_design_is_run_once_and_kept(prefect_harness, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    seen = []
    folder, history = tmp_path / "runs" / "c", tmp_path / "history"
    [file] = collect(settings, folder, history, lambda spec, result: seen.append(result))
    rows = read_history([file])
    assert len(rows) == len(seen) == 3
    assert set(rows["dataset_id"]) == {"leap_year"}
    assert rows["trial_id"].is_unique
    assert rows["config.sft_learning_rate"].nunique() == 3
    done = rows[rows["state"] == "completed"]
    assert done["score"].between(0, 1).all()
    assert (done["cost_flops"] > 0).all()
    assert json.loads(rows["curve"][0])
    # Every full trial gives one row for each prefix at which it was scored.
    prefixes = search_history(rows).query("fraction < 1")
    assert len(prefixes) == 4 * len(done)

    written = {f: f.stat().st_mtime_ns for f in folder.glob("trials/*/*/result.json")}
    collect(settings, folder, history)
    assert written == {f: f.stat().st_mtime_ns for f in folder.glob("trials/*/*/result.json")}
    assert read_history([file]).equals(rows)
