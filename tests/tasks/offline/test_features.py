"""The table of meta-features: measured for what is here, exact on disk, and put onto old rows."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from tasks.config.paths import ROOT, OfflineFolder
from tasks.history.rows import write_parquet
from tasks.inputs.catalog import SplitSizes, build_dataset, load_catalog
from tasks.offline.features import (
    KEYS,
    featurize_history,
    read_features,
    with_features,
    write_features,
)
from trials.data.dataset import fingerprint
from trials.process.launch import Launcher

TABLE = pd.DataFrame(
    {
        "dataset_fingerprint": ["12e4567", "b"],
        "dataset_id": ["null", "two"],
        "model_id": ["m", "m"],
        "model_fingerprint": ["", "w1"],
        "probe_loss": [1.25, 2.0],
        "log_rows": [3.0, math.nan],
    }
)


def rows(*pairs, **meta):
    columns = ["dataset_fingerprint", "model_id", "model_fingerprint"]
    frame = pd.DataFrame([(*pair, None)[:3] for pair in pairs], columns=columns)
    return frame.assign(score=range(len(pairs)), **{f"meta.{k}": v for k, v in meta.items()})


def test_a_table_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "features.csv"
    write_features(TABLE.iloc[::-1], file)
    assert file.read_text().splitlines()[0] == ",".join([*KEYS, "log_rows", "probe_loss"])
    found = read_features(file)
    pd.testing.assert_frame_equal(found, TABLE[[*KEYS, "log_rows", "probe_loss"]])
    written = file.read_bytes()
    write_features(found, file)
    assert file.read_bytes() == written
    assert read_features(tmp_path / "none.csv").empty


def test_numbers_are_written_with_six_digits(tmp_path):
    write_features(TABLE.assign(probe_loss=1 / 3), tmp_path / "f.csv")
    assert read_features(tmp_path / "f.csv")["probe_loss"].tolist() == [0.333333] * 2


def test_old_rows_get_the_features_of_the_table_and_no_others():
    weighed = ("b", "m", "w1")
    old = rows(weighed, ("12e4567", "m"), ("b", "other"), (None, "m"), log_rows=1.0, gone=9.0)
    found = with_features(old, TABLE)
    assert found["meta.probe_loss"].fillna(-1).tolist() == [2.0, 1.25, -1, -1]
    assert found["meta.log_rows"].fillna(-1).tolist() == [-1, 3.0, 1.0, 1.0]
    assert found["meta.gone"].fillna(-1).tolist() == [-1, -1, 9.0, 9.0]
    assert found["score"].tolist() == [0, 1, 2, 3]
    known = with_features(old.iloc[:2], TABLE)
    assert {c for c in known if c.startswith("meta.")} == {"meta.probe_loss", "meta.log_rows"}


def test_a_model_of_the_same_name_with_other_weights_is_another_one():
    old = rows(("b", "m", "w1"), ("b", "m", "w2"), ("b", "m"), probe_loss=7.0)
    assert with_features(old, TABLE)["meta.probe_loss"].tolist() == [2.0, 7.0, 7.0]
    unnamed = old.drop(columns="model_fingerprint").assign(dataset_fingerprint="12e4567")
    assert with_features(unnamed, TABLE)["meta.probe_loss"].tolist() == [1.25] * 3


def test_without_a_match_or_a_table_rows_stay_as_they_are():
    old = rows(("c", "m"), log_rows=1.0)
    pd.testing.assert_frame_equal(with_features(old, TABLE), old)
    pd.testing.assert_frame_equal(with_features(old, TABLE.iloc[:0]), old)
    bare = pd.DataFrame({"dataset_id": ["d"], "score": [1.0]})
    pd.testing.assert_frame_equal(with_features(bare, TABLE), bare)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A history of one dataset that is here and one that is not, measured with the tiny model."""
    home = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOPIPE_HOME", str(home))
        small = SplitSizes(train=40, validation=10, test=10)
        path = build_dataset("chain_sum", home / "all", sizes=small)
        path.rename(home / "all" / "chain_sum")
        here = fingerprint(home / "all" / "chain_sum")
        known = {"dataset_fingerprint": here, "dataset_id": "chain_sum"}
        history = pd.DataFrame(
            [
                {**known, "model_id": "tiny-100k"},
                {**known, "model_id": "tiny-100k"},
                {**known, "model_id": "llama"},
                {**known, "model_id": "tiny-100k", "model_fingerprint": "of long ago"},
                {"dataset_fingerprint": "x", "dataset_id": "far", "model_id": "tiny-100k"},
            ]
        )
        output = OfflineFolder(home / "offline")
        write_parquet(history, output.checked)
        seen = []
        models = load_catalog().models
        left = featurize_history.fn(home / "all", models, output, lambda *done: seen.append(done))
        first = output.features.read_bytes()

        # Again, and from the answers that are kept.
        class NoLauncher(Launcher):
            def start(self, *_, **__):
                raise AssertionError("launched again")

        featurize_history.fn(home / "all", models, output, launcher=NoLauncher())
        assert output.features.read_bytes() == first
        return read_features(output.features), left, seen


def test_what_is_here_is_measured_once_and_the_rest_is_named(measured):
    table, left, seen = measured
    assert table[["dataset_id", "model_id"]].to_numpy().tolist() == [["chain_sum", "tiny-100k"]]
    assert table.notna().all(axis=None)
    assert left == [
        "chain_sum with llama: not built or loaded here",
        "far with tiny-100k: not built or loaded here",
        "chain_sum with tiny-100k: other weights than those here",
    ]
    assert seen[-1] == ("probes", 1, 1)


def test_every_feature_is_described_and_every_description_is_of_a_feature(measured):
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, flags=re.MULTILINE)
    assert sorted(name for name, _ in described) == sorted(set(measured[0]) - set(KEYS))
    assert all(unit.strip() for _, unit in described)
