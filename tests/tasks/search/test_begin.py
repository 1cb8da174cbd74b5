"""The start of a run pins what it learns from, so that it is the same when it is resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.config.paths import BUNDLED_HISTORY, OfflineFolder
from tasks.config.settings import Budget, TuneSettings
from tasks.inputs.spaces import load_space
from tasks.runs.folder import RunFolder
from tasks.search import begin
from tasks.search.begin import begin_run, pin_history, record_history_use, space_of_run
from tasks.search.naming import resolve_run_history, resolve_settings
from tests.histories import bundled_files
from trials.io.errors import SettingsError
from trials.spec.records import SplitScore


@pytest.fixture
def inputs(tmp_path):
    card = SimpleNamespace(reward="numeric")
    splits = {name: [None] * 10 for name in ("train", "validation", "test")}
    dataset = SimpleNamespace(
        path=tmp_path,
        fingerprint="f",
        card=card,
        reward_inferred=False,
        splits=splits,
        preferences=[],
    )
    score = SplitScore(score=0.5, score_se=0.1, rows=4, outcomes=[0.0, 1.0, 0.0, 1.0])
    probe = SimpleNamespace(parameters=5, scores={"base": score}, seconds=1.0)
    return SimpleNamespace(
        dataset_id="d",
        dataset=dataset,
        model_id="m",
        meta={"log_rows": 1.0},
        probe=probe,
        warnings=("w",),
    )


def test_the_table_of_features_is_copied_and_stays_as_it_was(inputs, tmp_path, monkeypatch):
    offline = OfflineFolder(tmp_path / "offline")
    offline.path.mkdir()
    offline.features.write_text("first")
    monkeypatch.setattr(begin, "offline_folder", lambda: offline)
    history = tmp_path / "history"
    history.mkdir()
    shutil.copy(bundled_files()[0], history)
    settings = TuneSettings(dataset="d", model="m")
    space = load_space("sft_grpo")

    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    learned = pin_history(settings, run, inputs, history)
    begun = begin_run(settings, run, inputs, space, learned.files, history)
    assert learned.features == run.path / "features.csv"
    assert run.info().dataset.warnings == ["w"]
    offline.features.write_text("second")
    again = pin_history(settings, run, inputs, history)
    assert again.files == learned.files == [Path(file) for file in begun.history.files]
    assert again.features is not None
    assert again.features.read_text() == "first"

    fresh = RunFolder(tmp_path / "fresh")
    fresh.path.mkdir()
    alone = settings.model_copy(update={"use_history": False})
    assert pin_history(alone, fresh, inputs, history).features is None


# review fault 2
def test_a_run_that_goes_on_joins_the_history_that_it_began_with(inputs, tmp_path):
    """Whatever is the project's history by then; only one that is named counts more."""
    history, other = tmp_path / "mine", tmp_path / "other"
    other.mkdir()
    settings, run = TuneSettings(dataset="d", model="m"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    assert resolve_run_history(run, history) == history
    learned = pin_history(settings, run, inputs, history)
    begin_run(settings, run, inputs, load_space("sft_grpo"), learned.files, history)
    assert resolve_run_history(run, None) == history
    assert resolve_run_history(run, other) == other
    assert resolve_run_history(run, None) == other
    other.rmdir()
    with pytest.raises(SettingsError, match=r"other, which is not there[\s\S]*--history FOLDER"):
        resolve_run_history(run, None)


def test_a_run_that_goes_on_knows_what_it_knew_and_is_asked_as_it_was(inputs, tmp_path):
    """Else its search would propose other trials, and its finished ones would be lost."""
    settings, run = TuneSettings(dataset="d", model="m"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    learned = pin_history(settings, run, inputs, tmp_path / "mine")
    assert learned.used is None
    begun = begin_run(
        settings, run, inputs, load_space("sft_grpo"), learned.files, tmp_path / "mine"
    )
    assert begun.search_budget == settings.budget
    assert pin_history(settings, run, inputs, tmp_path / "mine").used is None  # killed before
    record_history_use(run, False)
    assert pin_history(settings, run, inputs, tmp_path / "mine").used is False

    for text in ("20m", "30"):
        given = settings.model_copy(update={"budget": Budget.parse(text)})
        assert resolve_settings(run, given).budget == Budget.parse(text)
        assert run.info().search_budget == settings.budget
    assert run.info().history.used is False


def test_a_run_that_goes_on_is_searched_in_its_own_space(inputs, tmp_path, monkeypatch):
    """Whatever the recipes say by then, and whether or not the file of its space is still there."""
    settings, run = TuneSettings(dataset="d", model="a/model-135M"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    found = space_of_run(settings, run, inputs)
    assert found.settings.space == "auto"
    assert "135 M parameters" in (found.note or "")
    begin_run(found.settings, run, inputs, found.space, [], tmp_path / "mine")
    monkeypatch.setattr(begin, "searched_space", None)
    again = space_of_run(run.info().settings, run, inputs)
    assert again.space == found.space
    assert again.note is None


def test_a_run_of_before_its_history_was_noted_joins_the_projects(inputs, tmp_path):
    settings, run = TuneSettings(dataset="d", model="m"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    mine = tmp_path / "mine"
    learned = pin_history(settings, run, inputs, mine)
    begin_run(settings, run, inputs, load_space("sft_grpo"), learned.files, mine)
    content = json.loads((run.path / "run.json").read_text())
    del content["history"]["folder"]
    (run.path / "run.json").write_text(json.dumps(content))
    assert resolve_run_history(run, None) == BUNDLED_HISTORY
