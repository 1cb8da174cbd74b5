"""The size of a model, from its headers or its name, without loading it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.paths import DATA
from tasks.inputs.gguf import count_parameters
from tasks.inputs.sizes import ASSUMED, ModelSize, model_size, size_in_name


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(shapes: list[tuple[int, ...]]) -> bytes:
    """The header of a file with these tensors, and with entries of each kind to step over."""
    entries = [
        text("general.name") + struct.pack("<I", 8) + text("small"),
        text("layers") + struct.pack("<II", 4, 3),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3),
    ]
    tensors = [
        text(f"t{number}")
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", 0, 0)
        for number, shape in enumerate(shapes)
    ]
    head = struct.pack("<IQQ", 3, len(shapes), len(entries))
    return b"GGUF" + head + b"".join(entries) + b"".join(tensors)


def test_a_gguf_file_is_counted_from_its_header(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf([(8, 4), (5,), (2, 3, 4)]))
    assert count_parameters(file) == 32 + 5 + 24
    assert model_size(str(file)) == ModelSize(61)


@given(cut=st.integers(0, 150))
def test_a_gguf_file_that_is_cut_short_is_not_counted(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    content = gguf([(8, 4), (5,)])
    file = tmp_path_factory.mktemp("cut") / "m.gguf"
    file.write_bytes(content[: min(cut, len(content) - 13)])
    assert count_parameters(file) is None


def test_a_gguf_file_that_claims_too_much_is_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    assert count_parameters(file) is None
    entry = struct.pack("<Q", 2**63) + b"x"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + entry)
    assert count_parameters(file) is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 500e6),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", 135e6),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("llama_2_7b_chat", 7e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("gpt2", None),
        ("owner-7b/model", None),
    ],
)
def test_a_name_may_tell_the_size(name: str, parameters: float | None) -> None:
    assert size_in_name(name) == parameters


def test_names_of_the_catalog_and_folders_of_weights_are_known_exactly() -> None:
    assert model_size("tiny-1m") == model_size(str(DATA / "models" / "tiny-1m"))
    assert model_size("tiny-1m") == ModelSize(1_009_024)
    assert str(ModelSize(1_009_024)) == "1.01 M parameters"


def test_a_hub_id_of_the_table_has_the_size_that_it_has_there() -> None:
    assert model_size("HuggingFaceTB/SmolLM2-135M").parameters == pytest.approx(134.5e6, rel=0.01)


def test_a_size_that_nothing_tells_is_assumed_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert model_size(str(folder)) == ModelSize(ASSUMED, known=False)
    assert "assumed" in str(model_size(str(folder)))
