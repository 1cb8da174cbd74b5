"""The start of a run pins what it learns from, so that it is the same when it is resumed."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from tasks import begin
from tasks.begin import begin_run
from tasks.history import history_files
from tasks.paths import HISTORY, OfflineFolder
from tasks.run_folder import RunFolder
from tasks.settings import TuneSettings
from tasks.spaces import load_space
from trials.records import SplitScore


@pytest.fixture
def inputs(tmp_path):
    card = SimpleNamespace(reward="numeric")
    splits = {name: [None] * 10 for name in ("train", "validation", "test")}
    dataset = SimpleNamespace(
        path=tmp_path, fingerprint="f", card=card, reward_inferred=False, splits=splits
    )
    score = SplitScore(score=0.5, score_se=0.1, rows=4, outcomes=[0.0, 1.0, 0.0, 1.0])
    probe = SimpleNamespace(parameters=5, scores={"base": score}, seconds=1.0)
    return SimpleNamespace(
        dataset_id="d", dataset=dataset, model_id="m", meta={"log_rows": 1.0}, probe=probe
    )


def test_the_table_of_features_is_copied_and_stays_as_it_was(inputs, tmp_path, monkeypatch):
    offline = OfflineFolder(tmp_path / "offline")
    offline.path.mkdir()
    offline.features.write_text("first")
    monkeypatch.setattr(begin, "OFFLINE", offline)
    history = tmp_path / "history"
    history.mkdir()
    shutil.copy(history_files(HISTORY)[0], history)
    settings = TuneSettings(dataset="d", model="m")
    space = load_space(settings.space)

    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    begun = begin_run(settings, run, inputs, space, history)
    assert begun.features == run.path / "features.csv"
    offline.features.write_text("second")
    again = begin_run(settings, run, inputs, space, history)
    assert again.features is not None
    assert again.features.read_text() == "first"

    fresh = RunFolder(tmp_path / "fresh")
    fresh.path.mkdir()
    alone = settings.model_copy(update={"use_history": False})
    assert begin_run(alone, fresh, inputs, space, history).features is None
