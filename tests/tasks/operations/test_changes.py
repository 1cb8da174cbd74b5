"""A recurring run works only when there is something new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.config.settings import TuneSettings
from tasks.operations.changes import detect_changes, save_snapshot, snapshot_file


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TuneSettings:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    write_rows(tmp_path / "data.jsonl", 200)
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "a.parquet").write_bytes(b"one")
    return TuneSettings(dataset=str(tmp_path / "data.jsonl"), model="tiny-100k")


def write_rows(file: Path, count: int) -> None:
    rows = [
        {"prompt": f"{i} + 1 =", "completion": str(i + 1), "answer": str(i + 1)}
        for i in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def news(settings: TuneSettings, history: Path) -> str | None:
    return detect_changes.fn(settings, history)[1]


def done(settings: TuneSettings, history: Path) -> None:
    seen, _ = detect_changes.fn(settings, history)
    save_snapshot.fn(settings, seen, "run-1", history, done=True)


def test_the_first_run_always_has_something_to_do(settings, tmp_path):
    assert news(settings, tmp_path / "history") == "its first run"


def test_nothing_new_is_nothing_to_do(settings, tmp_path):
    history = tmp_path / "history"
    done(settings, history)
    assert news(settings, history) is None


def test_own_trials_are_no_news_but_those_of_others_are(settings, tmp_path):
    history = tmp_path / "history"
    seen, _ = detect_changes.fn(settings, history)
    # While it runs, its own trials are appended, and somebody else's.
    (history / "run-1.abc.parquet").write_bytes(b"mine")
    save_snapshot.fn(settings, seen, "run-1", history, done=True)
    assert news(settings, history) is None
    (history / "others.parquet").write_bytes(b"theirs")
    assert news(settings, history) == "the history changed"


def test_data_history_and_settings_are_each_noticed(settings, tmp_path):
    history = tmp_path / "history"
    done(settings, history)
    write_rows(tmp_path / "data.jsonl", 201)
    assert news(settings, history) == "the dataset changed"
    (history / "a.parquet").write_bytes(b"two")
    assert news(settings, history) == "the dataset changed and the history changed"
    other = settings.model_copy(update={"seed": 9})
    assert "the settings changed" in news(other, history)


def test_what_came_after_the_run_is_not_forgotten(settings, tmp_path):
    history = tmp_path / "history"
    seen, _ = detect_changes.fn(settings, history)
    save_snapshot.fn(settings, seen, "run-1", history, done=False)
    now, what = detect_changes.fn(settings, history)
    assert what is None
    assert (now.run_id, now.done) == ("run-1", False)
    save_snapshot.fn(settings, now, "run-1", history, done=True)
    assert detect_changes.fn(settings, history)[0].done


def test_models_whose_names_begin_alike_are_told_apart(settings):
    small, large = (
        settings.model_copy(update={"model": f"meta/Llama-3.2-{size}"}) for size in ("1B", "3B")
    )
    assert snapshot_file(small) != snapshot_file(large)
    assert small.title != large.title
