"""Output folders in the layouts that TRL and transformers write."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from tasks.history.checks import check_history
from tasks.history.curves import unpack_curve
from tasks.importers.sources import join_history, read_source
from tasks.translation.results import ImportOptions
from trials.spec.hyperparameters import validate

TARGET = ImportOptions(name="team", dataset_id="gsm", model_id="m")
SFT = {
    "learning_rate": 2e-5,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 8,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "warmup_steps": 0,
    "packing": False,
    "neftune_noise_alpha": None,
    "weight_decay": 0.01,
    "metric_for_best_model": "eval_accuracy",
    "seed": 42,
    "optim": "adamw_torch",
}
GRPO = {
    "learning_rate": 1e-6,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
    "num_generations": 8,
    "num_iterations": 1,
    "beta": 0.04,
    "epsilon": 0.2,
    "loss_type": "dr_grpo",
    "scale_rewards": False,
    "temperature": 0.9,
    "top_k": -1,
    "max_completion_length": 256,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
}
DPO = {
    "learning_rate": 5e-7,
    "per_device_train_batch_size": 2,
    "beta": 0.2,
    "loss_type": ["ipo"],
    "precompute_ref_log_probs": False,
    "lr_scheduler_type": "SchedulerType.LINEAR",
}


def write_run(folder, arguments, *, metric="eval_accuracy", steps=50, reached=None, form="json"):
    """What a trainer leaves behind: checkpoints with the state, and the pickle of its arguments."""
    reached = reached or steps
    log = [
        {"step": step, "loss": 2.0 / step, "grad_norm": 1.0, "epoch": step / 10}
        for step in range(10, reached + 1, 10)
    ]
    log += [
        {"step": 20, metric: 0.4, "eval_loss": 1.0},
        {"step": reached, metric: 0.6, "eval_loss": 0.9, "eval_runtime": 3.0},
    ]
    log.append({"step": reached, "train_runtime": 12.5, "total_flos": 2e15, "train_loss": 0.2})
    log.sort(key=lambda entry: entry["step"])
    state = {"best_metric": None, "epoch": 1.0, "max_steps": steps, "total_flos": 2e15}
    for step in (20, reached):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        until = {"global_step": step, "log_history": [e for e in log if e["step"] <= step]}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state | until))
        (checkpoint / "training_args.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    if form == "json":
        (folder / "training_args.json").write_text(json.dumps(arguments))
    elif form == "yaml":
        (folder / "args.yaml").write_text(yaml.safe_dump(arguments))
    return folder


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_an_sft_run_becomes_a_row_with_curve_cost_and_score(tmp_path, form):
    imported = read_source(write_run(tmp_path / "out", SFT, form=form), TARGET)
    assert imported.rejected == []
    [row] = imported.rows
    assert (row["trial_id"], row["run_id"]) == ("team/gsm/out", "team")
    assert (row["score"], row["state"], row["fraction"]) == (0.6, "completed", 1.0)
    assert (row["cost_seconds"], row["cost_flops"], row["total_steps"]) == (12.5, 2e15, 50)
    config = {k.removeprefix("config."): v for k, v in row.items() if k.startswith("config.")}
    assert config == {
        "sft_share": 1.0,
        "dpo_share": 0.0,
        "sft_learning_rate": 2e-5,
        "sft_batch_size": 32,
        "sft_schedule": "cosine",
        "sft_warmup": 0.1,
        "sft_packing": False,
        "weight_decay": 0.01,
        "adapter": "full",
    }
    series = unpack_curve(row["curve"])
    assert series["sft", "score"] == ([20, 50], [0.4, 0.6])
    assert series["sft", "loss"][0] == [10, 20, 30, 40, 50]
    assert {stage for stage, _ in series} == {"sft"}
    assert check_history(pd.DataFrame([row]))[1].empty


def test_grpo_and_dpo_are_known_by_their_arguments(tmp_path):
    write_run(tmp_path / "rl", GRPO, metric="eval_reward")
    write_run(tmp_path / "dpo", DPO, metric="eval_rewards/accuracies")
    imported = read_source(tmp_path, TARGET)
    assert imported.rejected == []
    dpo, rl = imported.rows
    wanted = {
        "sft_share": 0.0,
        "rl_batch_size": 16,
        "rl_updates_per_generation": 2,
        "rl_num_generations": 8,
        "rl_beta": 0.04,
        "rl_loss_type": "dr_grpo",
        "rl_scale_rewards": "none",
        "rl_temperature": 0.9,
        "rl_top_k": 0,
        "rl_max_completion_tokens": 256,
        "rl_schedule": "constant",
        "rl_warmup": 0.1,
    }
    assert {name: rl[f"config.{name}"] for name in wanted} == wanted
    wanted = {"dpo_share": 1.0, "dpo_beta": 0.2, "dpo_loss_type": "ipo", "dpo_schedule": "linear"}
    assert {name: dpo[f"config.{name}"] for name in wanted} == wanted
    good, bad = check_history(pd.DataFrame(imported.rows))
    assert (len(good), len(bad)) == (2, 0)
    for row in imported.rows:
        validate({k.removeprefix("config."): v for k, v in row.items() if "config." in k})


def test_an_adapter_is_read_from_its_own_file(tmp_path):
    folder = write_run(tmp_path / "out", SFT)
    adapter = {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "lora_dropout": 0.05}
    (folder / "adapter_config.json").write_text(
        json.dumps(adapter | {"target_modules": ["q_proj", "v_proj"]})
    )
    [row] = read_source(folder, TARGET).rows
    assert row["config.adapter"] == "lora"
    assert row["config.lora_rank"] == 8
    assert row["config.lora_alpha_ratio"] == 4.0
    assert row["config.lora_targets"] == "attention"


def test_the_pickle_of_the_arguments_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "out", SFT, form="none")
    imported = read_source(folder, TARGET)
    assert imported.rows == []
    [refused] = imported.rejected
    assert "training_args.bin is a pickle" in refused.reason
    assert "--config" in refused.reason
    assert not (tmp_path / "pwned").exists()
    config = tmp_path / "sft.yaml"
    config.write_text(yaml.safe_dump(SFT))
    told = ImportOptions(name="team", dataset_id="gsm", model_id="m", config=config)
    assert len(read_source(folder, told).rows) == 1


def test_an_unfinished_run_is_part_of_its_schedule(tmp_path):
    [row] = read_source(write_run(tmp_path / "out", SFT, steps=100, reached=40), TARGET).rows
    assert (row["state"], row["fraction"], row["total_steps"]) == ("stopped", 0.4, 100)


@pytest.mark.parametrize(
    ("arguments", "metric", "reason"),
    [
        (SFT, "eval_mean_token_accuracy", "no score among its metrics"),
        (SFT | {"lr_scheduler_type": "polynomial"}, "eval_accuracy", "has no counterpart"),
        ({k: v for k, v in SFT.items() if k != "learning_rate"}, "eval_accuracy", "incomplete"),
        ({k: v for k, v in GRPO.items() if k != "beta"}, "eval_reward", "incomplete: beta"),
        ({"learning_rate": 1e-5, "per_device_train_batch_size": 1}, "eval_accuracy", "--stage"),
        (DPO | {"loss_type": ["ipo", "sigmoid"]}, "eval_accuracy", "sum of losses"),
    ],
)
def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path, arguments, metric, reason):
    imported = read_source(write_run(tmp_path / "out", arguments, metric=metric), TARGET)
    assert imported.rows == []
    assert reason in imported.rejected[0].reason


WER = SFT | {"metric_for_best_model": "wer", "greater_is_better": False}


def test_a_metric_that_is_to_be_low_is_turned_round_with_its_curve(tmp_path):
    folder = write_run(tmp_path / "out", WER, metric="eval_wer")
    imported = read_source(folder, TARGET)
    [row] = imported.rows
    assert row["score"] == -0.6
    assert unpack_curve(row["curve"])["sft", "score"] == ([20, 50], [-0.4, -0.6])
    assert dict(imported.metrics) == {("eval_wer", -1.0): 1}
    named = read_source(folder, replace(TARGET, score="eval_wer"))
    assert named.rows[0]["score"] == -0.6
    other = write_run(tmp_path / "high", WER | {"greater_is_better": True}, metric="eval_wer")
    assert read_source(other, TARGET).rows[0]["score"] == 0.6
    asked = read_source(other, replace(TARGET, minimize=True))
    assert asked.rows[0]["score"] == -0.6
    for score in ("eval_loss", "-eval_loss"):
        assert read_source(other, replace(TARGET, score=score)).rows[0]["score"] == -0.9


def test_an_odd_run_is_refused_and_the_others_are_imported(tmp_path):
    low = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    write_run(tmp_path / "auto", SFT | low | {"learning_rate": "auto"})
    write_run(tmp_path / "good", SFT)
    write_run(tmp_path / "text", SFT | {"learning_rate": "2e-5", "weight_decay": "auto"})
    odd = write_run(tmp_path / "zero", SFT)
    state = json.loads((odd / "checkpoint-50" / "trainer_state.json").read_text())
    state["global_step"] = "fifty"
    (odd / "checkpoint-50" / "trainer_state.json").write_text(json.dumps(state))
    imported = read_source(tmp_path, TARGET)
    assert [row["trial_id"] for row in imported.rows] == ["team/gsm/good"]
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert reasons["auto"] == "learning_rate: expected a number, found 'auto'"
    assert reasons["text"] == "config.weight_decay: expected a number, found 'auto'"
    assert reasons["zero"] == "global_step: expected a whole number, found 'fifty'"


def test_a_half_written_state_is_listed(tmp_path):
    folder = write_run(tmp_path / "a", SFT)
    broken = tmp_path / "b"
    broken.mkdir()
    (broken / "trainer_state.json").write_text('{"global_step": 3, "log_')
    imported = read_source(tmp_path, TARGET)
    assert [row["trial_id"] for row in imported.rows] == [f"team/gsm/{folder.name}"]
    assert "half-written" in imported.rejected[0].reason


def test_the_best_metric_stands_in_for_evaluations_that_were_not_logged(tmp_path):
    state = {"global_step": 10, "max_steps": 10, "log_history": [{"step": 10, "loss": 1.0}]}
    state |= {"best_metric": 0.7, "total_flos": 0}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "args.yaml").write_text(yaml.safe_dump(SFT))
    [row] = read_source(tmp_path, TARGET).rows
    assert row["score"] == 0.7
    assert row["cost_flops"] is None  # 0 is "not measured"


def test_a_folder_with_a_name_that_is_no_unicode_joins_the_history(tmp_path):
    folder = tmp_path / os.fsdecode(b"run\xe9")
    write_run(folder, SFT)
    joined = join_history(read_source(tmp_path, TARGET), tmp_path / "history", "trl")
    assert (len(joined.rows), joined.rejected) == (1, [])
    assert joined.rows[0]["trial_id"].endswith("run\\udce9")
