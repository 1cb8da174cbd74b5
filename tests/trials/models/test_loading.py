"""Models whose config.json and weights do not belong to each other are refused, not made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import TINY
from trials.io.errors import ModelError
from trials.models.check import check_folder
from trials.models.loading import load_model


def changed(folder: Path, **values: Any) -> Path:
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "weights that its config"),
        ({"num_key_value_heads": 2}, "k_proj.weight as 32 x 64, and the weights have 64 x 64"),
        ({"intermediate_size": 32}, "down_proj.weight as 64 x 32, and the weights have 64 x 96"),
        ({"hidden_act": "nope"}, "'nope' is not known"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
    ],
)
def test_weights_are_never_made_up(tmp_path: Path, values: dict[str, Any], found: str) -> None:
    with pytest.raises(ModelError, match=found) as caught:
        load_model(changed(tmp_path / "model", **values))
    assert "\n  expected: " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"num_key_value_heads": -2}, "says num_key_value_heads: -2"),
        ({"head_dim": 10**8}, "says head_dim: 100,000,000"),
        ({"num_local_experts": 10**9}, "describes a matrix of 1,000,000,000 x 64"),
        (
            {"num_key_value_heads": 10**9},
            "num_key_value_heads: 1,000,000,000, .* 16,000,000,000 rows, and k_proj .* has 64",
        ),
    ],
)
def test_sizes_are_refused_from_the_headers(
    tmp_path: Path, values: dict[str, Any], found: str
) -> None:
    with pytest.raises(ModelError, match=found):
        check_folder(changed(tmp_path / "model", **values))


def test_a_dense_model_may_say_that_it_has_no_experts(tmp_path: Path) -> None:
    assert check_folder(changed(tmp_path / "model", num_local_experts=0)).parameters > 0


def gpt2(folder: Path, **values: Any) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=16, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | values))
    return folder


def with_weights(folder: Path, **tensors: Any) -> Path:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(load_file(file) | tensors, file, {"format": "pt"})
    return folder


def test_a_table_of_positions_is_compared_with_the_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"says 1,000,000,000 positions, .* has 32 rows"):
        check_folder(gpt2(tmp_path / "model", n_positions=10**9))


def test_sizes_that_no_header_shows_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        vocab_size=16, n_positions=10**3, n_embd=16, n_layer=1, n_head=2, rotary_dim=8
    )
    GPTJForCausalLM(config).save_pretrained(tmp_path)
    assert load_model(tmp_path) is not None
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"n_positions": 2 * 10**8}))
    with pytest.raises(ModelError, match=r"a model of 1,600,00.* numbers, and the weights have"):
        load_model(tmp_path)


def test_layers_and_biases_are_never_left_out(tmp_path: Path) -> None:
    import torch

    for folder in (
        changed(tmp_path / "llama", num_hidden_layers=1),
        gpt2(tmp_path / "gpt2", n_layer=1),
        with_weights(
            changed(tmp_path / "bias"), **{"model.layers.0.mlp.up_proj.bias": torch.zeros(96)}
        ),
    ):
        with pytest.raises(ModelError, match="json does not describe"):
            load_model(folder)


def test_other_heads_buffers_and_layers_for_further_tokens_may_be_left_out(tmp_path: Path) -> None:
    import torch

    llama = with_weights(
        changed(tmp_path / "llama", num_nextn_predict_layers=1),
        **{
            "score.weight": torch.zeros(1, 64),
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8),
            "model.layers.2.eh_proj.weight": torch.zeros(64, 128),
            "vision_tower.layers.0.fc1.bias": torch.zeros(4),
        },
    )
    old = {"transformer.h.0.attn.bias": torch.zeros(1, 1, 32, 32)}
    old |= {"transformer.h.0.attn.masked_bias": torch.zeros(())}
    for folder in (llama, with_weights(gpt2(tmp_path / "gpt2"), **old)):
        assert load_model(folder) is not None
