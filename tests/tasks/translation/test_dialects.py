"""LLaMA-Factory, Axolotl, Weights & Biases: the same trainers under other names."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from tasks.importers.sources import read_source
from tasks.translation.arguments import config_from_arguments, infer_stage
from tasks.translation.dialects import to_trl_arguments
from tasks.translation.results import ImportOptions, RowError
from trials.io.errors import SettingsError
from trials.spec.hyperparameters import validate

TARGET = ImportOptions(name="team", dataset_id="sums", model_id="m")
FACTORY = {
    "stage": "sft",
    "finetuning_type": "lora",
    "cutoff_len": 512,
    "packing": False,
    "learning_rate": 1e-4,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
}
AXOLOTL = {
    "base_model": "some/model",
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "num_epochs": 3,
    "learning_rate": "2e-4",
    "lr_scheduler": "cosine",
    "sequence_len": 1024,
    "sample_packing": True,
    "adapter": "lora",
    "lora_r": 32,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "lora_target_linear": True,
    "warmup_steps": 10,
}


def config(given, steps=100):
    arguments = to_trl_arguments(given)
    stage = infer_stage(arguments, None)
    found = config_from_arguments(arguments, stage, steps)
    validate(found)
    return stage, found


def test_an_sft_file_of_llama_factory():
    stage, found = config(FACTORY | {"lora_rank": 4, "lora_target": "q_proj,v_proj"})
    assert stage == "sft"
    assert found["sft_batch_size"] == 16
    assert found["sft_completion_only"] is True
    assert (found["lora_rank"], found["lora_alpha_ratio"]) == (4, 2.0)
    assert found["lora_targets"] == "attention"
    assert config(FACTORY | {"finetuning_type": "full"})[1]["adapter"] == "full"


def test_a_dpo_file_of_llama_factory_is_no_sft():
    stage, found = config(FACTORY | {"stage": "dpo", "pref_beta": 0.3, "pref_loss": "hinge"})
    assert stage == "dpo"
    assert (found["dpo_beta"], found["dpo_loss_type"]) == (0.3, "hinge")
    assert (found["sft_share"], found["dpo_share"]) == (0.0, 1.0)
    assert not any(name.startswith("sft_p") for name in found)


@pytest.mark.parametrize("stage", ["pt", "rm", "ppo", "kto"])
def test_other_stages_are_refused_by_their_name(stage):
    with pytest.raises(RowError, match=f"LLaMA-Factory file of stage {stage}.*not imported"):
        to_trl_arguments(FACTORY | {"stage": stage})


@pytest.mark.parametrize("more", [{"pref_loss": "orpo"}, {"pref_loss": "simpo"}, {"pref_ftx": 0.5}])
def test_losses_that_have_no_counterpart_are_refused(more):
    with pytest.raises(RowError, match=f"{next(iter(more))}.*not imported"):
        to_trl_arguments(FACTORY | {"stage": "dpo"} | more)


def test_a_run_of_llama_factory_is_imported_as_what_it_was(tmp_path):
    for name, stage in (("a", "dpo"), ("b", "rm")):
        folder = tmp_path / name
        folder.mkdir()
        log = [{"step": 20, "eval_rewards/accuracies": 0.7}]
        state = {"global_step": 20, "max_steps": 20, "log_history": log}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        (folder / "training_args.yaml").write_text(
            yaml.safe_dump(FACTORY | {"stage": stage, "pref_beta": 0.1})
        )
    imported = read_source(tmp_path, TARGET)
    [row] = imported.rows
    assert (row["config.dpo_share"], row["config.dpo_beta"]) == (1.0, 0.1)
    [refused] = imported.rejected
    assert refused.item == "b"
    assert "stage rm" in refused.reason


def test_an_axolotl_file_is_translated():
    stage, found = config(AXOLOTL)
    assert stage == "sft"
    assert found["sft_batch_size"] == 8
    assert found["sft_packing"] is True
    assert found["sft_warmup"] == 0.1
    assert (found["lora_rank"], found["lora_alpha_ratio"], found["lora_dropout"]) == (32, 0.5, 0.05)
    assert found["lora_targets"] == "all-linear"
    stage, found = config(AXOLOTL | {"rl": "dpo", "rl_beta": 0.2, "adapter": None})
    assert (stage, found["dpo_beta"], found["adapter"]) == ("dpo", 0.2, "full")
    stage, found = config(AXOLOTL | {"rl": "ipo"})
    assert (stage, found["dpo_loss_type"]) == ("dpo", "ipo")
    grpo = {"rl": "grpo", "trl": {"beta": 0.01, "num_generations": 4, "loss_type": "dr_grpo"}}
    stage, found = config(AXOLOTL | grpo)
    assert (stage, found["rl_num_generations"], found["rl_beta"]) == ("rl", 4, 0.01)


@pytest.mark.parametrize("method", ["kto", "orpo", "simpo", "gdpo"])
def test_other_ways_of_axolotl_are_refused(method):
    with pytest.raises(RowError, match=f"rl: {method}"):
        to_trl_arguments(AXOLOTL | {"rl": method})


def test_axolotl_as_the_arguments_of_a_run(tmp_path):
    (tmp_path / "out").mkdir()
    state = {"global_step": 40, "max_steps": 40, "log_history": [{"step": 40, "eval_score": 0.7}]}
    (tmp_path / "out" / "trainer_state.json").write_text(json.dumps(state))
    file = tmp_path / "axolotl.yml"
    file.write_text(yaml.safe_dump(AXOLOTL))
    [row] = read_source(tmp_path / "out", replace(TARGET, config=file)).rows
    assert row["config.sft_learning_rate"] == 2e-4
    with pytest.raises(SettingsError, match=r"Axolotl file: the settings .* --config"):
        read_source(file, TARGET)


@pytest.mark.parametrize(
    "argument",
    ["center_rewards_coefficient", "num_ppo_epochs", "desirable_weight", "cpo_alpha", "rloo_k"],
)
def test_trainers_without_a_counterpart_are_known(argument):
    with pytest.raises(RowError, match=f"{argument}.*not imported"):
        to_trl_arguments({"learning_rate": 1e-5, argument: 1})


@pytest.mark.parametrize("packing", [False, None])
def test_packing_does_not_make_sft_of_preferences(packing):
    given = {"beta": 0.1, "loss_type": ["sigmoid"], "packing": packing}
    assert infer_stage(given, None) == "dpo"


@pytest.mark.parametrize(
    "text",
    [
        {"pretraining_dataset": [{"path": "c4"}]},
        {"datasets": [{"path": "a", "type": "alpaca"}, {"path": "b", "type": "completion"}]},
    ],
)
def test_continued_pre_training_of_axolotl_is_no_sft(text):
    with pytest.raises(RowError, match=r"Axolotl file of continued pre-training.*not imported"):
        to_trl_arguments(AXOLOTL | text)
    assert to_trl_arguments(
        AXOLOTL | {"pretraining_dataset": None, "datasets": [{"type": "alpaca"}]}
    )


@pytest.mark.parametrize(
    ("given", "switch"),
    [
        (AXOLOTL, {"relora_steps": 150}),
        (AXOLOTL, {"peft_use_dora": True}),
        (AXOLOTL, {"peft_use_rslora": True}),
        (AXOLOTL, {"loraplus_lr_ratio": 16}),
        (AXOLOTL, {"load_in_8bit": True}),
        (AXOLOTL, {"peft_layers_to_transform": [0, 1]}),
        (AXOLOTL | {"adapter": None}, {"unfrozen_parameters": ["lm_head.weight"]}),
        (FACTORY, {"use_dora": "true"}),
        (FACTORY, {"use_rslora": True}),
        (FACTORY, {"loraplus_lr_ratio": 16.0}),
        (FACTORY, {"pissa_init": True}),
        (FACTORY, {"quantization_bit": 4}),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_its_switch(given, switch):
    off = {next(iter(switch)): None}
    config(given | off)
    [(name, value)] = switch.items()
    with pytest.raises(RowError, match=f"{name.removeprefix('peft_')}=.*no counterpart"):
        config(given | {name: value})
    config(given | {name: False})


def test_quantized_weights_of_axolotl_are_no_lora():
    with pytest.raises(RowError, match="adapter: qlora has no counterpart"):
        config(AXOLOTL | {"adapter": "qlora", "load_in_4bit": True})


def test_an_adapter_says_what_it_is():
    arguments = {"learning_rate": 1e-4, "per_device_train_batch_size": 2}
    plain = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_dora": False, "rank_pattern": {}}
    plain |= {"init_lora_weights": True, "layers_to_transform": None, "bias": "none"}
    assert config_from_arguments(arguments, "sft", 10, plain)["adapter"] == "lora"
    for more in ({"use_rslora": True}, {"init_lora_weights": "pissa_niter_4"}, {"use_dora": True}):
        with pytest.raises(RowError, match="no counterpart"):
            config_from_arguments(arguments, "sft", 10, plain | more)
    quantized = arguments | {"use_peft": True, "lora_r": 8, "lora_alpha": 16, "load_in_4bit": True}
    with pytest.raises(RowError, match="load_in_4bit=True: LoRA on quantized weights"):
        config_from_arguments(quantized, "sft", 10)


@pytest.mark.parametrize(
    "more", [{"lora_r": 16, "lora_alpha": 32}, {"lora_rank": 8}, {"load_in_4bit": True}]
)
def test_settings_of_an_adapter_that_nothing_says_was_trained_are_rejected(more):
    arguments = {"learning_rate": 1e-4, "per_device_train_batch_size": 2}
    with pytest.raises(RowError, match="nothing says whether LoRA or all weights were trained"):
        config_from_arguments(arguments | more, "sft", 10)
    for off in ({"lora_r": 16, "use_peft": False}, {"lora_r": 0}):
        assert config_from_arguments(arguments | off, "sft", 10)["adapter"] == "full"
