"""What an export leaves in best/, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.delivery.export import export_best
from tasks.runs.folder import RunFolder
from tests.tasks.delivery.runs import (
    COMMANDS,
    COMMON,
    CONFIGS,
    MODEL,
    STAGES,
    assert_equal_tensors,
    final,
    tensors,
    write_dataset,
)
from trials.data.messages import PLAIN_TEMPLATE
from trials.io.errors import SettingsError
from trials.scoring.trl_reward import (
    USER_CODE_VARIABLE,
)
from trials.spec.records import Stop, write_json


def test_the_files_are_those_of_the_stages_that_ran(exported: RunFolder, name: str) -> None:
    best = exported.path / "best"
    files = {path.relative_to(best).as_posix() for path in best.rglob("*") if path.is_file()}
    stages = STAGES[name]
    expected = {"README.md", "config.json", "accelerate.yaml"}
    expected |= {f"{COMMANDS[stage]}.yaml" for stage in stages}
    for stage in set(stages) - {"dpo"}:
        expected |= {f"data/{stage}_{split}.parquet" for split in ("train", "validation")}
    expected |= {"data/dpo_train.parquet"} if "dpo" in stages else set()
    expected |= {"data/dataset.yaml"} if "rl" in stages else set()
    expected |= {"merge_adapter.py"} if name.startswith("lora") else set()
    expected |= {"chat_template.jinja"} if name.startswith("bare") else set()
    expected |= {"prepare_base.py"} if name == "bare_rl" else set()
    if name == "tables":
        expected |= {"train.py", "sft_schedule.json", "grpo_schedule.json"}
    if name == "greedy":
        expected |= {f"data/sft_followed/{split}.parquet" for split in ("train", "validation")}
    weights = "adapter" if CONFIGS[name].get("adapter") == "lora" else "model"
    assert {file for file in files if not file.startswith(f"{weights}/")} == expected
    assert json.loads((best / "config.json").read_text()) == COMMON | CONFIGS[name]


def test_the_weights_load_and_are_those_of_the_trial(exported: RunFolder, name: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    best = exported.path / "best"
    model: Any
    adapter = (best / "adapter").exists()
    folder = best / ("adapter" if adapter else "model")
    if adapter:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(MODEL), str(folder))
        assert list(model.peft_config) == ["default"]
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() > 0
    assert_equal_tensors(tensors(folder), tensors(final(exported)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = [{"role": "user", "content": "1+1?"}]
    original = AutoTokenizer.from_pretrained(MODEL)
    expected = original.apply_chat_template(text)
    if name.startswith("bare"):
        expected = original.apply_chat_template(text, chat_template=PLAIN_TEMPLATE)
    assert tokenizer.apply_chat_template(text) == expected


@pytest.mark.parametrize("name", ["lora"], indirect=True)
def test_leftovers_of_training_stay_behind(exported: RunFolder) -> None:
    left = {path.name for path in final(exported).iterdir()}
    assert {"ref", "README.md"} <= left
    names = {path.name for path in ((exported.path / "best") / "adapter").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert not names & {"training_args.bin", "ref", "README.md"}


@pytest.mark.parametrize("name", ["full"], indirect=True)
def test_exporting_again_replaces_the_folder_whole_and_nothing_else(run: RunFolder) -> None:
    best = export_best.fn(run)
    before = {path: path.read_bytes() for path in best.rglob("*") if path.is_file()}
    (best / "stray").write_text("of an older version")
    (run.path / ".best.partial").mkdir()
    (run.path / ".best.partial" / "stray").write_text("of an export that was killed")
    trained = best / "retrained" / "sft" / "weights"
    trained.parent.mkdir(parents=True)
    trained.write_text("trained by hand")
    before[trained] = trained.read_bytes()
    assert export_best.fn(run) == best
    assert {path: path.read_bytes() for path in best.rglob("*") if path.is_file()} == before
    # Killed between the two renamings, and just after them.
    for name in ("best", ".best.partial"):
        best.rename(run.path / ".best.previous")
        if name == "best":
            shutil.copytree(run.path / ".best.previous" / "data", best / "data")
        assert export_best.fn(run) == best
        assert {path: path.read_bytes() for path in best.rglob("*") if path.is_file()} == before
    assert not list(run.path.glob(".best.*"))


@pytest.mark.parametrize("name", ["full"], indirect=True)
def test_a_passed_through_accelerate_config_is_exported(run: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("num_processes: 2\ndistributed_type: MULTI_CPU\n")
    info = run.info()
    settings = info.settings.model_copy(update={"accelerate_config": str(file)})
    run.write_info(info.model_copy(update={"settings": settings}))
    best = export_best.fn(run)
    assert (best / "accelerate.yaml").read_text() == file.read_text()
    per_device = yaml.safe_load((best / "sft.yaml").read_text())["per_device_train_batch_size"]
    assert per_device == COMMON["sft_batch_size"] / 2
    file.unlink()
    with pytest.raises(SettingsError, match=re.escape(str(file))):
        export_best.fn(run)


@pytest.mark.parametrize("name", ["full"], indirect=True)
def test_the_readme_tells_the_scores_and_what_is_special(run: RunFolder) -> None:
    [trial] = run.trials()
    assert trial.result is not None
    text = (export_best.fn(run) / "README.md").read_text()
    assert "| this configuration | 0.250 ± 0.100 | 0.812 ± 0.050 |" in text
    assert "ended the trial" not in text
    assert "your own code" not in text
    stop = Stop(rule="kl_growth", step=5, values={})
    write_json(trial.folder / "result.json", trial.result.model_copy(update={"stop": stop}))
    write_json(trial.folder / "spec.json", trial.spec.model_copy(update={"allow_user_code": True}))
    best = export_best.fn(run)
    text = (best / "README.md").read_text()
    assert "`kl_growth` ended the trial at step 5 of 6" in text
    assert "your own code" in text
    environment = yaml.safe_load((best / "grpo.yaml").read_text())["env"]
    assert environment[USER_CODE_VARIABLE] == "1"


@pytest.mark.parametrize("name", ["full"], indirect=True)
def test_what_is_missing_is_named(run: RunFolder) -> None:
    shutil.rmtree(final(run))
    with pytest.raises(SettingsError, match="checkpoint/final is missing"):
        export_best.fn(run)
    (run.path / "summary.json").unlink()
    with pytest.raises(SettingsError, match="autopipe tune --resume full"):
        export_best.fn(run)
    assert not (run.path / "best").exists()


@pytest.mark.parametrize("name", ["full"], indirect=True)
def test_changed_data_is_refused(run: RunFolder, tmp_path: Path) -> None:
    [trial] = run.trials()
    other = write_dataset(tmp_path / "other", "dates")
    changed = trial.spec.model_copy(update={"dataset": str(other)})
    write_json(trial.folder / "spec.json", changed)
    with pytest.raises(SettingsError, match="changed since the trial"):
        export_best.fn(run)
