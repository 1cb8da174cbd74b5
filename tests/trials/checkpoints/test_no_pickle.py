"""Pickles that would leave a mark if anything opened them: in a model, in a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tasks.config.paths import DATA
from tests.trials.helpers import make_spec
from tests.trials.runs import checkpoint_at, run
from trials.checkpoints.entries import MANIFEST
from trials.io.errors import ModelError
from trials.models.loading import load_model
from trials.spec.records import write_json


def trap(file: Path, mark: Path) -> None:
    """A pickle that makes a file when it is loaded."""
    file.write_bytes(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())


def test_the_trap_works(tmp_path: Path) -> None:
    import pickle

    trap(tmp_path / "file", tmp_path / "mark")
    pickle.loads((tmp_path / "file").read_bytes())
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin"])
def test_a_model_with_weights_as_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    model, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(DATA / "models" / "tiny-100k", model)
    (model / "model.safetensors").unlink()
    trap(model / name, mark)
    with pytest.raises(ModelError, match="a pickle"):
        load_model(model)
    assert not mark.exists()


def test_an_adapter_as_a_pickle_is_refused(tmp_path: Path) -> None:
    model, mark = tmp_path / "adapter", tmp_path / "mark"
    base = DATA / "models" / "tiny-100k"
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "task_type": "CAUSAL_LM"}
    write_json(model / "adapter_config.json", config)
    trap(model / "adapter_model.bin", mark)
    with pytest.raises(ModelError, match="safetensors weights"):
        load_model(model)
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_trap_runs_nothing(
    tmp_path: Path, dataset_folder: Path, name: str
) -> None:
    """Its manifest says that all is well: who can write the one can write the other."""
    part = make_spec(tmp_path / "part", dataset_folder, fraction=0.75)
    run(part)
    checkpoint, mark = Path(checkpoint_at(part.folder, 6)), tmp_path / "mark"
    trap(checkpoint / "trainer" / name, mark)
    content = (checkpoint / "trainer" / name).read_bytes()
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    record = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"][f"trainer/{name}"] = record
    write_json(checkpoint / MANIFEST, manifest)
    whole = make_spec(tmp_path / "whole", dataset_folder)
    whole = whole.model_copy(update={"continue_from": str(checkpoint)})
    [result] = run(whole)
    assert not mark.exists()
    assert result.state == "failed"
