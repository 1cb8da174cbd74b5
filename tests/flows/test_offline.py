"""The offline flow on a part of the bundled history: real models, real numbers, the same twice."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from prefect.client.orchestration import get_client
from typer import Typer
from typer.testing import CliRunner, Result

from flows.cli.offline import _table, run
from surrogates.evaluation.baselines import BASELINES
from tasks.config.params import PARAMS, load_section
from tasks.config.paths import OfflineFolder, offline_folder
from tasks.history.prefixes import PREFIX_FRACTIONS
from tasks.history.rows import history_files, read_history, write_parquet
from tasks.inputs.catalog import SplitSizes, build_dataset
from tasks.offline.evaluate import SECTION, OfflineSettings, evaluation_trials, parts, with_error
from tasks.offline.feature_groups import GROUPS, groups_of
from tasks.offline.features import KEYS, read_features
from tasks.runs.folder import RunFolder
from tasks.runs.versions import run_versions
from tasks.versioning.store import version_store
from tests.histories import bundled
from trials.io.errors import SettingsError

DATASETS = ("chain_sum", "count_bits", "leap_year")

app = Typer()
app.command()(run)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes and versions of these tests stay out of the workspace of whoever runs them."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    for name in DATASETS:
        write_parquet(bundled(name), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def params(tmp_path: Path) -> Path:
    section = yaml.safe_load(PARAMS.read_text("utf-8"))["offline"]
    section |= {"losses": ["QueryRMSE"], "trees": 20, "rungs": [0.2, 0.5]}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"offline": section}))
    return file


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """One small dataset that is in no history: all rows keep their own features."""
    path = build_dataset("lcm", tmp_path, sizes=SplitSizes(train=40, validation=10, test=10))
    (tmp_path / "built").mkdir()
    path.rename(tmp_path / "built" / "lcm")
    return tmp_path / "built"


def command(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.slow
def test_every_step_leaves_what_the_next_one_needs_and_again_the_same(
    prefect_harness, history, built, params, tmp_path, monkeypatch
):
    options = ["--history", history, "--built", built, "--params", params]
    written = []
    for output in (tmp_path / "one", tmp_path / "two"):
        for step in ("validate", "featurize", "train", "evaluate"):
            done = command(step, *options, "--output", output)
            assert done.exit_code == 0, done.output
        written.append(
            {
                file.relative_to(output).as_posix(): file.read_bytes()
                for file in output.rglob("*.*")
                if file.is_file() and "data_docs" not in file.parts
            }
        )
    assert written[0] == written[1]
    assert set(written[0]) >= {
        "validation.json", "history.parquet", "features.csv", "training.json", "metrics.json",
        "models/offline.json", "models/early.cbm",
        *(f"plots/{n}.csv" for n in ("early", "features", "ranker", "ranker_by_dataset")),
    }  # fmt: skip
    assert "60 trials, 3 dataset x model groups, 3 datasets" in done.output
    with get_client(sync_client=True) as client:
        pages = [(artifact.key, str(artifact.data)) for artifact in client.read_artifacts()]
    assert any("60 rows good, 0 quarantined" in text for _, text in pages)
    assert any(key == "offline-ranking" and "QueryRMSE" in text for key, text in pages)
    # What was read and made is kept; in `dvc repro`, dvc.lock has it.
    noted = run_versions(RunFolder(tmp_path / "one"))
    assert set(noted.read) == {"history"}
    assert set(noted.wrote) == {"features", "offline-models"}
    models = version_store().restore(noted.wrote["offline-models"], "models")
    assert (models / "offline.json").read_bytes() == written[0]["models/offline.json"]
    monkeypatch.setenv("DVC_STAGE", "train")
    (tmp_path / "one" / "versions.json").unlink()
    assert command("train", *options, "--output", tmp_path / "one").exit_code == 0
    assert not (tmp_path / "one" / "versions.json").exists()
    # What was found is shown again without being computed.
    shown = command("show", "--output", tmp_path / "one")
    assert shown.output == done.output[done.output.index("Ranking a dataset left out") :]
    training = json.loads(written[0]["training.json"])
    assert training["rows"] == {"datasets": 3, "failed": 0, "prefixes": 240, "trials": 60}
    check_metrics(json.loads(written[0]["metrics.json"]), tmp_path / "one" / "plots")


def check_metrics(metrics: dict, plots: Path) -> None:
    assert metrics["history"] == {"trials": 60, "groups": 3, "datasets": 3}
    assert set(metrics["ranker"]) == {
        "queryrmse", "queryrmse_meta", "ensemble_as_the_search", "mean_rank_portfolio",
        "greedy_regret_portfolio", "nearest_dataset", "random",
    }  # fmt: skip
    assert {"config", "text", "probes", "rewards", "model", "all"} == set(metrics["features"])
    assert set(metrics["early"]) == {"0_2", "0_5"}
    assert abs(metrics["ranker"]["random"]["kendall_tau"]) < 0.06
    assert 0 < metrics["early"]["0_2"]["saved"] < 1
    by_dataset = pd.read_csv(plots / "ranker_by_dataset.csv")
    assert by_dataset.groupby("method")["dataset"].apply(set).tolist() == [set(DATASETS)] * 8
    table = pd.read_csv(plots / "ranker.csv").set_index("method")
    means = by_dataset.groupby("method")["kendall_tau"].mean()
    assert table["kendall_tau"].to_dict() == pytest.approx(means.to_dict(), abs=1e-4)


def test_a_history_that_is_not_there_is_explained(prefect_harness, built, tmp_path):
    options = ["--history", tmp_path / "none", "--built", built, "--output", tmp_path / "out"]
    done = command("validate", *options)
    assert done.exit_code == 2
    assert "git checkout data/history" in done.output
    assert not (tmp_path / "out").exists()


def test_a_step_says_which_one_is_missing_before_it(prefect_harness, built, tmp_path):
    for step, missing in (
        ("train", "validate"),
        ("evaluate", "validate"),
        ("show", "make offline"),
    ):
        done = command(step, "--output", tmp_path / "out", "--built", built)
        assert done.exit_code == 2
        assert missing in done.output


def test_the_bundled_parameters_are_legal_and_every_bundled_meta_feature_has_a_group():
    settings = load_section(OfflineSettings, SECTION)
    described = read_features(offline_folder().features)
    assert not described.empty
    groups = groups_of(set(described) - set(KEYS))
    assert set(groups) == set(GROUPS)
    assert (
        parts(settings, len(groups))
        == 2 * len(settings.losses) + 1 + len(BASELINES) + len(groups) + 3
    )


def test_the_prefixes_that_are_judged_are_those_at_the_rungs(history, tmp_path):
    output = OfflineFolder(tmp_path)
    write_parquet(read_history(history_files(history)), output.checked)
    output.features.write_text(",".join(KEYS))
    assert set(evaluation_trials(output, OfflineSettings())["fraction"]) == {*PREFIX_FRACTIONS, 1.0}
    few = OfflineSettings(rungs=(0.3,))
    assert set(evaluation_trials(output, few)["fraction"]) == {0.3, 1.0}


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
        load_section(OfflineSettings, SECTION, file)


def test_cells_stand_under_their_own_titles_also_where_two_are_alike():
    metrics = ["spearman", "spearman_last", "mae", "mae_last", "saved"]
    numbers = {name: [float(place)] for place, name in enumerate(metrics, 1)}
    table = _table("early", pd.DataFrame({"fraction": [0.1]} | numbers), "fraction", metrics)
    assert [(str(c.header), list(c.cells)) for c in table.columns] == [
        ("fraction", ["0.1"]), ("Spearman", ["1.000"]), ("last score", ["2.000"]),
        ("MAE", ["3.000"]), ("last score", ["4.000"]), ("cost saved", ["5.000"]),
    ]  # fmt: skip


def test_errors_are_shown_where_there_are_any():
    table = pd.DataFrame({"mae": [0.5], "mae_se": [0.0312]})
    assert with_error(table, "mae") == ["0.500 ± 0.031"]
    assert with_error(table.drop(columns="mae_se"), "mae") == ["0.500"]
