"""What is refused before anything is started: all of it at once, and each thing once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter

from tasks.config.settings import TuneSettings
from tasks.inputs import auto_space
from tasks.planning.preflight import check_settings
from trials.io.errors import SettingsError

Settings = Callable[..., TuneSettings]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Remembers which rows were looked at already; nothing else of it is used."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def settings(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """``settings(rows=200, pairs=0, **others)``: of a run on a dataset of so many rows."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(home))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def make(rows: int = 200, pairs: int = 0, **others: Any) -> TuneSettings:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for split, count in (("train", rows), ("validation", 8), ("test", 8)):
            lines = [
                json.dumps({"prompt": f"{split} {n}", "completion": "A", "answer": "AB"[n % 2]})
                for n in range(count)
            ]
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
        (folder / "dataset.yaml").write_text("reward: exact_match\n")
        if pairs:
            pair = [{"prompt": f"{n}?", "chosen": "A", "rejected": "B"} for n in range(pairs)]
            (folder / "preferences.jsonl").write_text("\n".join(map(json.dumps, pair)))
        return TuneSettings(dataset=str(folder), **{"model": "tiny-100k", **others})

    return make


def refusal(settings: TuneSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        check_settings(settings)
    return str(caught.value)


@pytest.mark.parametrize("space", ["sft", "grpo", "sft_grpo", "wide"])
def test_what_can_run_is_not_refused(settings: Settings, space: str) -> None:
    check_settings(settings(space=space))


def test_everything_is_told_at_once_and_once(settings: Settings, tmp_path: Path) -> None:
    space = ConfigurationSpace({"sft_lerning_rate": (1e-5, 1e-2)})
    space.to_yaml(tmp_path / "bad.yaml")
    text = refusal(
        settings(
            space=str(tmp_path / "bad.yaml"),
            model=str(tmp_path / "no.gguf"),
            compute={"vllm": True},
            gpus_per_trial=2,
            accelerate_config=str(tmp_path / "none.yaml"),
        )
    )
    for part in ("did you mean 'sft_learning_rate'", "no.gguf", "accelerate config"):
        assert text.count(part) == 1, text


def test_gpus_that_are_not_there_are_refused(settings: Settings) -> None:
    assert "leave --gpus-per-trial out" in refusal(settings(gpus_per_trial=2))


def test_values_that_only_some_configurations_have_are_found(
    settings: Settings, tmp_path: Path
) -> None:
    space = ConfigurationSpace({"sft_share": (0.2, 0.8)})
    space.add(OrdinalHyperparameter("sft_batch_size", [8, 24, 48, 96], default_value=8))
    space.add(OrdinalHyperparameter("rl_batch_size", [8, 400, 16], default_value=8))
    space.to_yaml(tmp_path / "space.yaml")
    lines = refusal(settings(rows=40, space=str(tmp_path / "space.yaml"))).splitlines()
    assert sorted(line.split(" ")[0] for line in lines[:-1]) == [
        "rl_batch_size=400",
        "sft_batch_size=48",
        "sft_batch_size=96",
    ]
    assert "--space FILE" in lines[-1]


def test_batches_must_divide_by_the_processes_of_a_trial(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "accelerate.yaml"
    config.write_text("use_cpu: true\nnum_machines: 2\nnum_processes: 3\n")
    text = refusal(settings(space="sft_grpo", accelerate_config=str(config)))
    assert "sft_batch_size=16 does not divide by the 3 processes" in text
    assert "rl_batch_size=16 does not divide by the 3 processes" in text
    config.write_text("use_cpu: true\nnum_processes: 2\n")
    check_settings(settings(space="sft_grpo", accelerate_config=str(config)))


def test_dpo_without_preferences_is_refused_once_with_another_space(settings: Settings) -> None:
    text = refusal(settings(space="sft_dpo_grpo"))
    assert text.count("no preference pairs") == 1
    assert "--space sft_grpo" in text
    assert "dpo_batch_size=32 is more than the 20 pref" in refusal(
        settings(space="sft_dpo_grpo", pairs=20)
    )
    check_settings(settings(space="sft_dpo_grpo", pairs=80))


def test_the_space_is_loaded_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = auto_space.load_space
    monkeypatch.setattr(auto_space, "load_space", lambda name: loaded.append(name) or load(name))
    check_settings(settings())
    assert loaded == ["sft_grpo"]


def test_rates_that_no_recipe_has_are_refused_with_the_other_problems(
    settings: Settings, tmp_path: Path
) -> None:
    model = tmp_path / "large-7b"
    model.mkdir()
    text = refusal(settings(space="sft_grpo", model=str(model)))
    assert "sft_learning_rate: expected about 1.3e-5 for 7 B parameters" in text
    assert "--allow-rates" in text
    assert "config.json" in text
    assert "--allow-rates" not in refusal(
        settings(space="sft_grpo", model=str(model), allow_rates=True)
    )


def test_gpus_of_this_machine_count_only_for_trials_on_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for backend in ("here", "dask"):
        with pytest.raises(SettingsError, match="the largest that works is --parallel 1"):
            check_settings(settings(parallel=4, trials_on=backend))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SettingsError, match="no GPU is visible here"):
        check_settings(settings(gpus_per_trial=1))
    for backend in ("workers", "tcp://10.0.0.1:8786"):
        check_settings(settings(parallel=4, gpus_per_trial=1, trials_on=backend))
    config = tmp_path / "two.yaml"
    config.write_text("num_processes: 2\n")
    others = {"accelerate_config": str(config), "gpus_per_trial": 4}
    with pytest.raises(SettingsError, match="has num_processes for 2"):
        check_settings(settings(trials_on="workers", **others))


def test_completions_that_earn_nothing_are_refused_before_anything_is_started(
    settings: Settings, tmp_path: Path
) -> None:
    run = settings()
    for split in ("train", "validation", "test"):
        file = tmp_path / "data" / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("\n".join(json.dumps({**row, "answer": 3}) for row in rows))
    text = refusal(run)
    assert "own completions earn nothing from the reward 'exact_match': 200 of 200 in train" in text
    assert "train.jsonl:1" in text
