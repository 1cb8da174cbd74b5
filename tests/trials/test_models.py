"""Models whose config.json and weights do not belong to each other are refused, not made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import TINY
from trials.errors import ModelError
from trials.model_check import check_folder
from trials.models import load_model


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
    ],
)
def test_sizes_are_refused_from_the_headers(
    tmp_path: Path, values: dict[str, Any], found: str
) -> None:
    with pytest.raises(ModelError, match=found):
        check_folder(changed(tmp_path / "model", **values))


def test_a_dense_model_may_say_that_it_has_no_experts(tmp_path: Path) -> None:
    assert check_folder(changed(tmp_path / "model", num_local_experts=0)).parameters > 0
