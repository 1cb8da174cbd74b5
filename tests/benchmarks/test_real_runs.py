"""The history of a real run, and the table of finished runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import real_runs, tune_runs
from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files, read_history
from trials.io.errors import SettingsError


def test_the_dataset_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    tune_runs.copy_history(tmp_path / "history", without="lcm")
    left = read_history(history_files(tmp_path / "history"))
    bundled = [f for f in history_files(BUNDLED_HISTORY) if f.name.startswith("bundled-")]
    every = read_history(bundled)
    assert "lcm" not in set(left["dataset_id"])
    assert set(left["trial_id"]) == set(every.loc[every["dataset_id"] != "lcm", "trial_id"])


def test_a_copy_under_another_name_is_left_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame(
        {
            "dataset_id": ["a", "copy", "b"],
            "dataset_fingerprint": ["1", "1", "2"],
            "trial_id": ["x", "y", "z"],
            "score": [0.1, 0.2, 0.3],
        }
    )
    rows.to_parquet(tmp_path / "bundled-x.parquet")
    monkeypatch.setattr(tune_runs, "BUNDLED_HISTORY", tmp_path)
    tune_runs.copy_history(tmp_path / "out", without="a")
    assert pd.read_parquet(tmp_path / "out" / "bundled-x.parquet")["trial_id"].tolist() == ["z"]
    with pytest.raises(SettingsError, match="there are: a, b, copy"):
        tune_runs.copy_history(tmp_path / "other", without="c")


def test_a_strategy_with_proxies_and_another_model_are_runs_of_their_own(tmp_path: Path) -> None:
    plain = real_runs.Selection(results=tmp_path)
    large = real_runs.Selection(results=tmp_path, model="tiny-4m")
    homes = {s.home("lcm", name, 0) for s in (plain, large) for name in ("autopipe", "gp")}
    homes.add(large.home("lcm", "autopipe+proxies", 0))
    assert len(homes) == 5
    arguments = large.arguments("lcm", "autopipe+proxies", 3)
    assert arguments[arguments.index("--strategy") + 1] == "autopipe"
    assert arguments[arguments.index("--proxy") + 1] == "auto"
    assert "--proxy" not in large.arguments("lcm", "autopipe", 3)


def test_the_table_counts_what_is_there(tmp_path: Path) -> None:
    selection = real_runs.Selection(budget="9s", results=tmp_path)
    for name, scores in (("autopipe", (0.4, 0.6)), ("tpe", (0.5, 0.9))):
        for seed, test in enumerate(scores):
            home = selection.home("lcm", name, seed) / "runs" / "r"
            home.mkdir(parents=True)
            summary = {"best": {"test": test}, "default": {"test": 0.3}, "base": {"test": 0.1}}
            (home / "summary.json").write_text(json.dumps(summary))
    options = ["--datasets", "lcm", "--strategies", "autopipe,tpe", "--seeds", "3"]
    shown = CliRunner().invoke(
        real_runs.app, ["show", *options, "--budget", "9s", "--results", str(tmp_path)]
    )
    assert "+0.200" in shown.output  # of one seed 0.1, of the other 0.3
    assert "± 0.100" in " ".join(shown.output.split())
    assert shown.exit_code == 0
    assert "0.500" in shown.output
    assert "0.300" in shown.output
    assert "missing" in shown.output


def test_workers_get_equal_shares_of_the_cores() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert real_runs.shares_of_cores(1) == [set(cores)]
    shares = real_runs.shares_of_cores(len(cores))
    assert sorted(core for share in shares for core in share) == cores
    with pytest.raises(SettingsError, match=f"there are {len(cores)} cores"):
        real_runs.shares_of_cores(len(cores) + 1)


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="\nerror: "):
        tune_runs.tune(tmp_path, ["lcm", "--strategy", "no_such_strategy"], without="lcm")


def test_a_folder_of_something_else_is_not_removed(tmp_path: Path) -> None:
    thesis = tmp_path / "home" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(SettingsError, match="is no workspace of such a run"):
        tune_runs.tune(thesis.parent, ["gcd"])
    assert thesis.read_text() == "years of work"
