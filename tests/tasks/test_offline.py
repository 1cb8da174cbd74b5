"""The offline models of a run: of its history, described by its table of features, kept once."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.features import keys_of, write_features
from tasks.history import history_files, read_history
from tasks.offline import offline_models
from tasks.paths import BUNDLED_HISTORY
from tasks.spaces import load_space


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    return tmp_path


def test_the_table_describes_the_history_that_the_models_learn_from(home):
    space, files = load_space("sft_grpo"), history_files(BUNDLED_HISTORY)[:3]
    pairs = keys_of(read_history(files)).drop_duplicates()
    told = np.arange(len(pairs), dtype=float)
    table = home / "features.csv"
    write_features(pairs.assign(only_here=told), table)

    plain = offline_models.fn(files, space, None)
    described = offline_models.fn(files, space, None, features=table)
    seen = [
        {c for c in models.cost.schema.columns if c.startswith("meta.")}
        for models in (plain, described)
    ]
    assert "meta.probe_loss" in seen[0]
    assert seen[1] <= {"meta.only_here"}
    assert "meta.only_here" in described.ranker.schema.columns
    # Kept apart, and read again instead of trained again.
    kept = sorted((home / ".cache" / "autopipe" / "offline").iterdir())
    assert len(kept) == 2
    offline_models.fn(files, space, None, features=table)
    assert sorted((home / ".cache" / "autopipe" / "offline").iterdir()) == kept
    missing = offline_models.fn(files, space, None, features=home / "none.csv")
    assert missing.cost.schema == plain.cost.schema


def test_without_a_history_there_are_no_models(home):
    assert offline_models.fn([], load_space("sft_grpo"), None) is None
