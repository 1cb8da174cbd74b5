"""The offline flow on a part of the bundled history: real models, real numbers, the same twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from flows.offline import main
from tasks.evaluate import (
    PARAMS,
    OfflineSettings,
    load_settings,
    parts,
    past_trials,
    with_error,
)
from tasks.paths import HISTORY
from trials.errors import SettingsError

DATASETS = ("chain_sum", "count_bits", "leap_year")

app = Typer()
app.command()(main)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    for name in DATASETS:
        shutil.copy(HISTORY / f"bundled--{name}.parquet", folder)
    return folder


@pytest.fixture
def params(tmp_path: Path) -> Path:
    section = yaml.safe_load(PARAMS.read_text("utf-8"))["offline"]
    section |= {"losses": ["QueryRMSE"], "trees": 20, "rungs": [0.2, 0.5]}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"offline": section}))
    return file


def test_a_history_is_judged_and_judged_alike_again(prefect_harness, history, params, tmp_path):
    written = []
    for output in (tmp_path / "one", tmp_path / "two"):
        options = ["--history", history, "--output", output, "--params", params]
        done = CliRunner().invoke(app, list(map(str, options)))
        assert done.exit_code == 0, done.output
        files = sorted(output.rglob("*.*"))
        written.append({str(f.relative_to(output)): f.read_bytes() for f in files if f.is_file()})
    assert written[0] == written[1]
    assert set(written[0]) == {
        "metrics.json",
        *(f"plots/{n}.csv" for n in ("early", "features", "ranker", "ranker_by_dataset")),
    }
    assert "90 trials, 3 dataset x model groups, 3 datasets" in done.output
    metrics = json.loads(written[0]["metrics.json"])
    assert metrics["history"] == {"trials": 90, "groups": 3, "datasets": 3}
    assert set(metrics["ranker"]) == {
        "queryrmse", "queryrmse_meta", "mean_of_past_tasks", "mean_rank_portfolio",
        "greedy_regret_portfolio", "nearest_dataset", "random",
    }  # fmt: skip
    assert set(metrics["features"]) == {"config", "text", "probes", "rewards", "model", "all"}
    assert set(metrics["early"]) == {"0_2", "0_5"}
    assert abs(metrics["ranker"]["random"]["kendall_tau"]) < 0.06
    assert metrics["early"]["0_2"]["saved"] == pytest.approx(0.8)
    by_dataset = pd.read_csv(tmp_path / "one" / "plots" / "ranker_by_dataset.csv")
    assert by_dataset.groupby("method")["dataset"].apply(set).tolist() == [set(DATASETS)] * 7
    table = pd.read_csv(tmp_path / "one" / "plots" / "ranker.csv").set_index("method")
    means = by_dataset.groupby("method")["kendall_tau"].mean()
    assert table["kendall_tau"].to_dict() == pytest.approx(means.to_dict(), abs=1e-4)


def test_an_empty_folder_is_explained(prefect_harness, tmp_path):
    done = CliRunner().invoke(app, ["--history", str(tmp_path), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "git checkout data/history" in done.output
    assert not (tmp_path / "out").exists()


def test_the_bundled_parameters_are_legal_and_name_every_meta_feature():
    settings = load_settings()
    rows = past_trials.fn(HISTORY, settings)
    assert set(rows["fraction"]) == {*settings.rungs, 1.0}
    assert parts(settings) == 11 + 4 + 4 + 3


def test_a_meta_feature_in_no_group_is_named(history):
    settings = OfflineSettings(feature_groups={"text": ("prompt_*", "answer_*")})
    with pytest.raises(SettingsError, match=r"base_score.*\n.*feature_groups"):
        past_trials.fn(history, settings)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"tress": 3}, "tress"),
        ({"losses": ["QueryRMSE", "Foo"]}, "Foo"),
        ({"rungs": [0.15]}, r"0\.15"),
        ({"trees": 0}, "trees"),
    ],
)
def test_wrong_parameters_are_refused(change, found, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"offline": change}))
    with pytest.raises(SettingsError, match=found):
        load_settings(file)


def test_missing_parameters_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="section `offline`"):
        load_settings(tmp_path / "params.yaml")


def test_errors_are_shown_where_there_are_any():
    table = pd.DataFrame({"mae": [0.5], "mae_se": [0.0312]})
    assert with_error(table, "mae") == ["0.500 ± 0.031"]
    assert with_error(table.drop(columns="mae_se"), "mae") == ["0.500"]
