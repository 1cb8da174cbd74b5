"""A model is known by its content, wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

from trials.models.fingerprints import model_fingerprint

TINY = Path(__file__).resolve().parents[3] / "data" / "models" / "tiny-100k"


def test_the_same_content_elsewhere_is_the_same_model(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    (copy / "README.md").write_text("a note changes nothing")
    here, there = (model_fingerprint(str(path), tmp_path / "cache") for path in (TINY, copy))
    assert here is not None
    assert here == there
    assert len(here) == 16


def test_other_weights_or_another_template_are_another_model(tmp_path: Path) -> None:
    seen = {model_fingerprint(str(TINY), tmp_path / "cache")}
    for number, name in enumerate(("model.safetensors", "tokenizer_config.json")):
        copy = Path(shutil.copytree(TINY, tmp_path / f"copy{number}"))
        with (copy / name).open("ab") as file:
            file.write(b" ")
        seen.add(model_fingerprint(str(copy), tmp_path / "cache"))
    assert len(seen) == 3


def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    first = model_fingerprint(str(TINY), tmp_path)
    [known] = tmp_path.iterdir()
    known.write_text("remembered")
    assert first != model_fingerprint(str(TINY), tmp_path) == "remembered"


def test_a_hub_id_has_no_content_here(tmp_path: Path) -> None:
    assert model_fingerprint("someone/some-model", tmp_path) is None
