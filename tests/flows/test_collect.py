"""Collect: a design of real trials becomes history rows; what is done is not done again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from ConfigSpace import ConfigurationSpace, Constant
from prefect.client.orchestration import get_client

from flows.collect import collect
from tasks.config.settings import CollectSettings
from tasks.history.rows import read_history, search_history
from tasks.inputs.auto_space import design_space, keep_space
from tasks.inputs.recipes import reference_rule
from tasks.inputs.spaces import load_space
from tasks.monitoring.observers import (
    DatasetsProbed,
    Message,
    RunEvent,
    RunObserver,
    TrialFinished,
    observed_by,
)
from tasks.monitoring.prefect_pages import artifact_key
from tasks.runs.folder import RunFolder
from tasks.runs.versions import run_versions
from tasks.search.design import append_dataset, design
from tasks.versioning.store import version_store
from trials.io.errors import AutoPipeError, SettingsError
from trials.models.memory import available_ram_bytes
from trials.spec.records import Schedule, TrialResult


class Seen(RunObserver):
    """Keeps what is said, every result, and how often a base model was measured."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.results: list[TrialResult] = []
        self.probes = 0

    def notify(self, event: RunEvent) -> None:
        match event:
            case Message(text):
                self.said.append(text)
            case TrialFinished(_, result):
                self.results.append(result)
            case DatasetsProbed():
                self.probes += 1


@pytest.fixture
def settings() -> CollectSettings:
    return CollectSettings(
        datasets=["leap_year"],
        model="tiny-100k",
        configurations=3,
        parallel=1,
        schedule=Schedule(total_steps=10, eval_rows=16),
    )


def page(key: str) -> list[dict[str, str]]:
    """A table on Prefect's pages."""
    with get_client(sync_client=True) as client:
        [found] = [artifact for artifact in client.read_artifacts() if artifact.key == key]
    return json.loads(str(found.data))


@pytest.mark.slow
def test_a_design_is_run_once_and_kept(prefect_harness, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    seen = Seen()
    folder, history = tmp_path / "runs" / "My_run", tmp_path / "history"
    with observed_by(seen):
        [file] = collect(settings, "My_run", history)
    rows = read_history([file])
    assert len(rows) == len(seen.results) == 3
    [note] = seen.said
    assert "of the space sft_grpo" in note
    assert load_space(str(folder / "trials" / "leap_year" / "space.json")) == load_space("sft_grpo")
    assert set(rows["dataset_id"]) == {"leap_year"}
    [row] = page(artifact_key(RunFolder(folder), "datasets"))
    assert (row["dataset"], row["trials"], row["failed"]) == ("leap_year", "3", "0")
    assert row["best"] == max(f"{score:.3f}" for score in rows["score"])[: len(row["best"])]
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
    collect(settings, "My_run", history)
    assert written == {f: f.stat().st_mtime_ns for f in folder.glob("trials/*/*/result.json")}
    assert read_history([file]).equals(rows)

    noted = run_versions(RunFolder(folder))
    assert set(noted.read) == {"dataset-leap_year"}
    kept = version_store().restore(noted.wrote["history"], "history")
    assert [f.name for f in kept.iterdir()] == [file.name]


@pytest.mark.slow
def test_what_would_fail_every_trial_stops_the_run_and_is_run_again(
    prefect_harness, settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    folder, history = tmp_path / "runs" / "c", tmp_path / "history"
    hidden = []

    class HideTheData(RunObserver):
        def notify(self, event: RunEvent) -> None:
            if isinstance(event, TrialFinished) and not hidden:
                rows = Path(event.spec.dataset) / "train.jsonl"
                hidden.append((rows.rename(rows.with_suffix(".away")), rows))

    with (
        observed_by(HideTheData()),
        pytest.raises(AutoPipeError, match=r"(?s)bad_data.*log\.txt.*repeat the command"),
    ):
        collect(settings, "c", history)
    assert not history.exists()
    assert len(list(folder.glob("trials/*/*/result.given-up.json"))) == 1
    [(away, rows)] = hidden
    away.rename(rows)
    [file] = collect(settings, "c", history)
    assert set(read_history([file])["state"]) == {"completed"}


def test_rates_far_above_the_rule_are_refused_before_anything_is_run(
    prefect_harness, settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    model = tmp_path / "large-7b"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama", "hidden_size": 4096}')
    space = ConfigurationSpace({"adapter": "lora"})
    rate = 100 * reference_rule().rate("sft", "lora", 7 * 10**9)
    space.add(Constant("sft_learning_rate", rate))
    space.to_yaml(tmp_path / "hot.yaml")
    changes = {"model": str(model), "space": str(tmp_path / "hot.yaml")}
    seen = Seen()
    with (
        observed_by(seen),
        pytest.raises(SettingsError, match=r"(?s)100 times as much.*--allow-rates"),
    ):
        collect(settings.model_copy(update=changes), "hot", tmp_path / "history")
    assert (seen.said, seen.results, seen.probes) == ([], [], 0)
    assert not (tmp_path / "runs" / "hot").exists()
    assert not (tmp_path / "history").exists()


def test_the_tiny_models_have_the_design_that_they_had(settings, tmp_path):
    """That of the bundled history: `sft_grpo`, kept in a file or by its name."""
    folder = tmp_path / "design"
    kept = keep_space(design_space(settings, 0, folder), folder)
    specs = [
        design(settings.model_copy(update={"space": space}), inputs(tmp_path), folder)
        for space in ("sft_grpo", kept)
    ]
    assert specs[0] == specs[1]


def test_a_design_is_repeated_with_another_seed_and_begins_a_longer_one(settings, tmp_path):
    def configs(**changes):
        changes["space"] = "sft_grpo"
        specs = design(settings.model_copy(update=changes), inputs(tmp_path), tmp_path)
        return [spec.config for spec in specs], {spec.seed for spec in specs}

    first, seeds = configs(configurations=5)
    assert seeds == {0}
    assert configs(configurations=5, seed=3, design_seed=0) == (first, {3})
    assert configs(configurations=5, seed=3)[0] != first
    assert configs(configurations=60)[0][:5] == first


def inputs(tmp_path: Path) -> SimpleNamespace:
    data = SimpleNamespace(path=tmp_path / "data", fingerprint="f")
    return SimpleNamespace(
        dataset_id="d", dataset=data, model="m", model_fingerprint=None, schedule=Schedule()
    )


def test_trials_are_limited_as_the_settings_say(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    changed = settings.model_copy(
        update={
            "space": "sft_grpo",
            "parallel": 4,
            "limits": settings.limits.model_copy(update={"silent_seconds": 5.0}),
            "compute": settings.compute.model_copy(update={"precision": "float32"}),
        }
    )
    for spec in design(changed, inputs(tmp_path), tmp_path):
        assert spec.limits.silent_seconds == 5
        assert spec.compute.precision == "float32"
        assert spec.compute.memory_bytes == pytest.approx(available_ram_bytes() / 4, rel=0.3)


def test_a_trial_without_a_result_is_named(settings, tmp_path):
    named = settings.model_copy(update={"space": "sft_grpo"})
    specs = design(named, inputs(tmp_path), tmp_path / "trials")
    with pytest.raises(AutoPipeError, match=r"(?s)no result.json in .*0001.*repeat the command"):
        append_dataset(inputs(tmp_path), specs, "run", tmp_path / "history")
