"""Models and chat templates that cannot work are refused in one sentence, before any compute."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.inputs import chats
from tasks.inputs.chats import check_chats
from tasks.inputs.gguf import convert_gguf
from tests.trials.helpers import ROOT, TINY, sums, write_dataset, write_rows
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError, ModelError
from trials.models import chat_check
from trials.models.check import check_folder

USER = {"role": "user", "content": "What is 1 + 2?"}
THINKING = "<think>One and two make three.</think>Answer: 3"
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 22}}}
PLAIN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
TOOLS = PLAIN.replace("\n{%", " {% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}\n{%")
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system role!') }}{% endif %}"
)
NO_THOUGHTS = PLAIN.replace("m.content", "m.content.split('</think>')[-1]")
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + PLAIN


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def dataset_of(folder: Path, *rows: dict[str, Any]) -> Path:
    write_dataset(folder)
    if rows:
        write_rows(folder / "train.jsonl", rows)
    return folder


def checked(folder: Path, model: Path) -> None:
    check_chats(load_dataset(folder), str(model), model.parent / "cache")


def row(**fields: Any) -> dict[str, Any]:
    return {"prompt": [USER], "completion": "Answer: 3", "answer": "3", **fields}


# Chat templates


@pytest.mark.parametrize(
    ("template", "bad", "found"),
    [
        (
            NO_THOUGHTS,
            row(completion=THINKING),
            "leaves out '<think>One and two make three.</think>' of completion",
        ),
        (
            NO_SYSTEM + PLAIN,
            row(prompt=[{"role": "system", "content": "Be brief."}, USER]),
            "the chat template refuses the row: No system role!",
        ),
        ("{{ messages[0].content }}", row(), "leaves out 'Answer: 3' of completion"),
        (
            PLAIN,
            row(completion=[{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
            "leaves out 'add' of tool_calls of completion",
        ),
        ("{% for m in messages %}{{ m.nothing.else }}{% endfor %}", row(), "refuses the row"),
        ("{{ 'x' * 10**11 }}", row(), "more memory than there is"),
        (ENDLESS, row(), "does not come to an end"),
    ],
)
def test_what_a_template_loses_or_refuses_is_told_with_its_row(
    tmp_path: Path, model: Path, template: str, bad: dict[str, Any], found: str
) -> None:
    (model / "chat_template.jinja").write_text(template)
    folder = dataset_of(tmp_path / "data", bad)
    with pytest.raises(DatasetError) as caught:
        checked(folder, model)
    assert found in caught.value.problem
    assert (caught.value.path, caught.value.line) == (folder / "train.jsonl", 1)
    assert "Traceback" not in str(caught.value)


def test_good_rows_pass_and_are_remembered(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "chat_template.jinja").write_text(TOOLS)
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    folder = dataset_of(tmp_path / "data", *sums(30), row(completion=[call]))
    checked(folder, model)
    monkeypatch.setattr(sys, "executable", "/nowhere")  # nothing is started for the same again
    checked(folder, model)
    (model / "chat_template.jinja").write_text(PLAIN)
    with pytest.raises(FileNotFoundError):
        checked(folder, model)


def test_a_base_model_without_template_passes(tmp_path: Path, model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    checked(dataset_of(tmp_path / "data"), model)


# Tokenizers and kinds of models


def edit(model: Path, name: str, **changes: Any) -> None:
    content = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps({**content, **changes}))


def add_tokens(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    token = {**content["added_tokens"][0], "id": 99_999, "content": "<|new|>"}
    content["added_tokens"].append(token)
    (model / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (add_tokens, "<|new|>"),
        (
            lambda m: edit(m, "tokenizer_config.json", eos_token=None, pad_token=None),
            "no end token",
        ),
        (lambda m: (m / "tokenizer.json").write_text("{"), "no tokenizer"),
        (lambda m: (m / "tokenizer.json").unlink(), "no tokenizer"),
        (
            lambda m: edit(m, "config.json", model_type="bert", architectures=["BertForMaskedLM"]),
            "is BertForMaskedLM, not a causal language model",
        ),
        (lambda m: edit(m, "config.json", model_type="t5"), "not a causal language model"),
        (
            lambda m: edit(m, "config.json", architectures=["LlamaForSequenceClassification"]),
            "not a causal language model",
        ),
        (lambda m: edit(m, "config.json", model_type="never_heard_of"), "cannot be loaded"),
    ],
)
def test_models_whose_tokenizer_or_kind_does_not_fit(
    tmp_path: Path,
    model: Path,
    spoil: Callable[[Path], Any],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer_here(folder: Path, request: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """What the child would answer, without a process of its own: no row is looked at."""
        question, answer = folder / "request.json", folder / "answer.json"
        question.write_text(json.dumps(request))
        chat_check.main(question, answer)
        return json.loads(answer.read_text()), ""

    monkeypatch.setattr(chats, "_answer", answer_here)
    monkeypatch.setattr(chat_check, "_bound_memory", lambda: pytest.fail("the model passed"))
    spoil(model)
    with pytest.raises(ModelError, match="expected:") as caught:
        checked(dataset_of(tmp_path / "data"), model)
    assert found in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


# Lengths


LONG = [row(prompt=f"{n}: " + "#a" * (300 + n)) for n in range(9)]


def test_rows_that_are_too_long_are_counted_before_any_compute(tmp_path: Path, model: Path) -> None:
    folder = dataset_of(tmp_path / "data", row(), *LONG)
    with pytest.raises(DatasetError) as caught:
        checked(folder, model)
    error = caught.value
    assert (error.path, error.line) == (folder / "train.jsonl", 2)
    assert "; 9 of 30 rows are too long: this one, train.jsonl:3, " in error.problem
    assert "train.jsonl:7 and 3 more; the longest is train.jsonl:10 with 6" in error.problem
    assert error.expected.startswith("at most 512: the model's context is 512; shorten or remove")
    assert "or choose a model with a context of at least 6" in error.expected


def test_what_fits_is_remembered_and_a_shorter_limit_is_looked_at_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(dataset_of(tmp_path / "data", row(), row(prompt="#" * 99)))
    asked = []
    answer = chats._answer
    monkeypatch.setattr(chats, "_answer", lambda *args: asked.append(args) or answer(*args))

    def looked_at(limit: int | None) -> int:
        check_chats(dataset, str(model), tmp_path / "cache", limit)
        return len(asked)

    assert [looked_at(limit) for limit in (None, 200, None)] == [1, 1, 1]
    with pytest.raises(DatasetError) as caught:
        looked_at(60)
    assert "and --max-length is 60; shorten or remove the row, or raise " in caught.value.expected
    assert len(asked) == 2
    [known] = (tmp_path / "cache" / "chats").iterdir()
    known.write_text("")  # as the release before left it
    assert looked_at(200) == 3


def test_of_many_rows_the_longest_are_counted(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats, "CHECKED_ROWS", 4)
    monkeypatch.setattr(chats, "LONGEST_ROWS", 3)
    rows = [row(prompt=f"{n}?") for n in range(80)]
    with pytest.raises(DatasetError, match=r"at least 3 of 109 rows are too long"):
        checked(dataset_of(tmp_path / "data", *rows, *LONG), model)


# Headers of weights


def cut(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def only(model: Path, name: str, content: bytes = b"x") -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(content)


def tensors(model: Path, dtype: str, name: str) -> None:
    header = json.dumps({name: {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    (model / "model.safetensors").write_bytes(content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
SHARD = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode()
OUTSIDE = json.dumps({"weight_map": {"a": "../model.safetensors"}}).encode()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda m: (m / "config.json").unlink(), "has no config.json"),
        (lambda m: (m / "config.json").rename(m / "adapter_config.json"), "holds an adapter"),
        (lambda m: (m / "config.json").write_text("{"), "is not JSON"),
        (lambda m: (m / "config.json").write_text("[" * 100_000), "nested too deep"),
        (lambda m: (m / "config.json").write_text("[1]"), "holds a JSON list"),
        (lambda m: (m / "config.json").write_bytes(LFS), "config.json is a Git LFS pointer"),
        (lambda m: edit(m, "config.json", model_type=None), "names no model_type"),
        (lambda m: edit(m, "config.json", is_encoder_decoder=True), "is an encoder-decoder model"),
        (lambda m: edit(m, "config.json", quantization_config={"quant_method": "gptq"}), "(gptq)"),
        (lambda m: (m / "quantize_config.json").write_text('{"bits": 4}'), "quantized weights"),
        (lambda m: edit(m, "config.json", num_hidden_layers=10**9), "says 1,000,000,000 layers"),
        (lambda m: edit(m, "config.json", num_hidden_layers=-1), "says num_hidden_layers: -1"),
        (lambda m: edit(m, "config.json", hidden_size=0), "says hidden_size: 0"),
        (lambda m: edit(m, "config.json", hidden_size="64"), "says hidden_size: 64"),
        (lambda m: edit(m, "config.json", hidden_size=32), "the embedding has 64 columns"),
        (lambda m: edit(m, "config.json", intermediate_size=10**8), "describes a matrix of"),
        (lambda m: edit(m, "config.json", vocab_size=10**6), "the embedding has 512 rows"),
        (lambda m: edit(m, "config.json", vocab_size=10**4000), "far too large"),
        (cut, "is cut short: 1,000 bytes are missing"),
        (lambda m: (m / "model.safetensors").write_bytes(LFS), "is a Git LFS pointer"),
        (lambda m: (m / "model.safetensors").write_bytes(b""), "is not a safetensors file"),
        (
            lambda m: (m / "model.safetensors").write_bytes(b"\xff" * 99),
            "is not a safetensors file",
        ),
        (
            lambda m: (m / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"[[[["),
            "a broken safetensors header",
        ),
        (lambda m: only(m, "pytorch_model.bin"), "a pickle, which is never loaded"),
        (lambda m: (m / "model.safetensors").unlink(), "has no weights"),
        (lambda m: only(m, "model.safetensors.index.json", SHARD), "lacks model-00001-of-00002"),
        (lambda m: only(m, "model.safetensors.index.json", OUTSIDE), "no weight_map"),
        (lambda m: tensors(m, "I8", "model.layers.0.mlp.up_proj.weight"), "holds quantized"),
        (lambda m: tensors(m, "I32", "model.layers.0.mlp.up_proj.qweight"), "holds quantized"),
    ],
)
def test_folders_that_cannot_work_are_refused_from_their_headers(
    model: Path, spoil: Callable[[Path], Any], found: str
) -> None:
    spoil(model)
    with pytest.raises(ModelError, match="expected:") as caught:
        check_folder(model)
    assert found in str(caught.value)
    assert str(model) in str(caught.value)


def test_bundled_models_pass() -> None:
    for folder in sorted((ROOT / "data" / "models").glob("tiny-*")):
        assert check_folder(folder).layers


def test_files_that_only_begin_as_gguf_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    for content, found in ((LFS, "a Git LFS pointer"), (b"GGUF\3\0\0\0", "cannot be read")):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="expected:") as caught:
            convert_gguf(file, tmp_path / "cache")
        assert found in str(caught.value)


# Code out of a model folder


def test_no_code_of_a_model_folder_runs(tmp_path: Path, model: Path) -> None:
    """Neither asked for nor unasked: "y" on standard input used to be enough."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (model / "planted.py").write_text(code)
    kinds = {"AutoConfig": "planted.C", "AutoModelForCausalLM": "planted.M"}
    edit(model, "config.json", model_type="planted", auto_map=kinds)
    edit(model, "tokenizer_config.json", auto_map={"AutoTokenizer": ["planted.T", None]})
    script = f"""
from trials.io.errors import ModelError
from trials.models.loading import load_model
from trials.models.tokenizer import load_config, load_tokenizer
from tasks.inputs.gguf import convert_gguf
for load in (load_config, load_model, load_tokenizer):
    try:
        load({str(model)!r})
    except ModelError as error:
        print("refused", load.__name__)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], input="y\n" * 9, capture_output=True, text=True, cwd=ROOT
    )
    assert "refused load_config" in ended.stdout, ended.stderr
    assert "refused load_model" in ended.stdout
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ModelError):
        checked(dataset_of(tmp_path / "data"), model)
    assert not (tmp_path / "ran").exists()
