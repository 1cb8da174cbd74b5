"""Checks of a model folder, from its config.json and the headers of its weights alone.

Nothing is loaded: a header is a few kilobytes, and what cannot work is refused in well under a
second, before a process is started for it. The folder may be hostile: sizes that only
config.json claims are compared with the weights before anything is built from them.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.io.errors import ModelError
from trials.io.text_files import PICKLE, SIGNATURES

LARGEST_JSON = 100_000_000  # bytes; safetensors bounds its headers by the same number
LFS, POINTER = SIGNATURES[0]
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EXPECTED = "a folder with config.json, a tokenizer and safetensors weights, or a hub id"
FLOAT_WEIGHTS = "the folder it was quantized from, with float weights, which can be trained"
# Names of one size in the configurations of different architectures.
SIZES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "vocabulary": ("vocab_size",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim"),
    "context": ("max_position_embeddings", "n_positions"),
    "groups": ("num_key_value_heads",),
    "head": ("head_dim",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
}
FLOATS = ("F64", "F32", "F16", "BF16")
LARGEST_SIZE = 2**31
LAYER = re.compile(r"\.(\d+)\.")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|embeddings|tok_embeddings)\.weight$"
)
# Tables of positions that are learned; those of towers for pictures and sounds have longer names.
POSITIONS = re.compile(
    r"^(?:\w+\.)?(?:decoder\.)?"
    r"(?:wpe|positions_embed|embed_positions|embeddings\.position_embeddings)\.weight$"
)
KEYS = re.compile(r"(?:^|\.)k_proj\.weight$")
BELONGING = "the config.json that belongs to the weights, and all of them"
_PACKED = re.compile(r"(?:^|\.)(?:qweight|qzeros|weight_packed|SCB)$")


@dataclass(frozen=True)
class Weights:
    """Shapes of all tensors of a model folder, by name."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def layers(self) -> int:
        """One more than the highest number in the names of tensors: layers count from 0."""
        found = (int(n) for name in self.shapes for n in LAYER.findall(name) if len(n) < 9)
        return max(found, default=-1) + 1

    @property
    def embedding(self) -> tuple[int, int] | None:
        """Rows and columns of the embedding, where a tensor is known to be one."""
        tables = (shape for name, shape in self.shapes.items() if _EMBEDDING.search(name))
        return next(((shape[0], shape[1]) for shape in tables if len(shape) == 2), None)

    @property
    def vocabulary(self) -> int | None:
        """Rows of the embedding."""
        return self.embedding[0] if self.embedding else None

    def rows(self, name: re.Pattern[str]) -> int:
        """Most rows of the matrices of a name; 0 where there is none."""
        found = (shape for each, shape in self.shapes.items() if name.search(each))
        return max((shape[0] for shape in found if len(shape) == 2), default=0)


def check_folder(folder: Path) -> Weights:
    """Checks a model folder.

    Returns:
        The shapes of its weights.

    Raises:
        ModelError: in one sentence, when trials could not work with it.
    """
    config = _config(folder)
    _check_kind(config, folder)
    weights = Weights(_shapes(folder))
    _check_sizes(config, weights, folder)
    return weights


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object out of a model folder.

    Raises:
        ModelError: for anything else, named for what it is.
    """
    try:
        if (size := file.stat().st_size) > LARGEST_JSON:
            raise _refusal(file, f"has {size:,} bytes")
        if (text := file.read_bytes()).startswith(LFS):
            raise _refusal(file, f"is {POINTER}")
        content = json.loads(text)
    except OSError as error:
        raise _refusal(file, f"cannot be read: {error.strerror}") from None
    except RecursionError:
        raise _refusal(file, "is nested too deep") from None
    except ValueError as error:
        raise _refusal(file, f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _refusal(file, f"holds a JSON {type(content).__name__}, not an object")
    return content


def _refusal(path: Path, problem: str, expected: str = EXPECTED) -> ModelError:
    return ModelError(f"{path} {problem}\n  expected: {expected}")


def _config(folder: Path) -> dict[str, Any]:
    if (folder / "config.json").is_file():
        return read_json(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        problem = "holds an adapter, not a model"
        raise _refusal(folder, problem, "its base model, or the two merged into one folder")
    found = sorted(folder.glob("*.gguf"))
    expected = f"a folder with one, or {found[0]}" if found else EXPECTED
    raise _refusal(folder, "has no config.json", expected)


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    if not isinstance(config.get("model_type"), str):
        raise _refusal(folder / "config.json", "names no model_type")
    quantized = config.get("quantization_config") or config.get("compression_config")
    for name in ("quantize_config.json", "quant_config.json"):
        if not quantized and (folder / name).is_file():
            quantized = {"quant_method": read_json(folder / name).get("quant_method", name)}
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        method = method or "quantization_config in config.json"
        raise _refusal(folder, f"holds quantized weights ({method})", FLOAT_WEIGHTS)
    if config.get("is_encoder_decoder"):
        problem = f"is an encoder-decoder model ({config['model_type']})"
        raise _refusal(folder, problem, "a causal language model (decoder only)")


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    if (folder / SINGLE).is_file():
        return _header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in index.values()
    ):
        raise _refusal(folder / INDEX, "has no weight_map of tensors to files beside it")
    shapes: dict[str, tuple[int, ...]] = {}
    for name in sorted(set(index.values())):
        if not (folder / name).is_file():
            raise _refusal(folder, f"lacks {name}, which {INDEX} names: fetch the whole model")
        shapes |= _header(folder / name)
    if missing := sorted(index.keys() - shapes.keys()):
        raise _refusal(folder, f"lacks the tensor {missing[0]}, which {INDEX} names")
    return shapes


def _no_weights(folder: Path) -> ModelError:
    suffixes = (".bin", ".pt", ".pth")
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix in suffixes):
        problem = f"has its weights in {pickles[0]}, {PICKLE}"
        expected = f"{SINGLE}; save_pretrained of a model that you trust writes it"
        return _refusal(folder, problem, expected)
    return _refusal(folder, f"has no weights ({SINGLE} or {INDEX})")


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a safetensors file: 8 bytes of length, so much JSON, then the tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if (start + stream.read(len(LFS) - 8)) == LFS:
            raise _refusal(file, f"is {POINTER}")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LARGEST_JSON, size - 8):
            raise _refusal(file, "is not a safetensors file, or cut short within its header")
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        shapes = {name: tuple(map(int, each["shape"])) for name, each in header.items()}
        ends = [int(each["data_offsets"][1]) for each in header.values()]
        kinds = {name: str(each["dtype"]) for name, each in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise _refusal(file, "has a broken safetensors header") from None
    missing = 8 + length + max(ends, default=0) - size
    if missing > 0:
        raise _refusal(file, f"is cut short: {missing:,} bytes are missing; fetch it again")
    for name, kind in kinds.items():
        matrix = name.endswith("weight") and len(shapes[name]) == 2
        if (matrix and kind not in FLOATS) or _PACKED.search(name):
            problem = f"holds quantized weights ({name} is {kind})"
            raise _refusal(file, problem, FLOAT_WEIGHTS)
    return shapes


def _check_sizes(config: Mapping[str, Any], weights: Weights, folder: Path) -> None:
    """Refuses sizes that no model has, and those that the weights do not bear out."""
    file = folder / "config.json"
    inner = config.get("text_config")
    text = {**config, **(inner if isinstance(inner, dict) else {})}
    sizes = _sizes(text, file)
    narrow = any(text.get(name) for name in ("word_embed_proj_dim", "embedding_size"))
    if problem := (
        _against_tables(sizes, weights, narrow)
        or _against_attention(sizes, weights)
        or _against_all(sizes, weights)
    ):
        raise _refusal(file, problem, BELONGING)


def _sizes(text: Mapping[str, Any], file: Path) -> dict[str, int]:
    """The sizes that a configuration says, by our names; what is no size is refused."""
    sizes: dict[str, int] = {}
    for size, names in SIZES.items():
        for name in names:
            value = text.get(name)
            if value is None:
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            if size == "experts" and value == 0:  # dense models say so
                continue
            if not whole or not 0 < value < LARGEST_SIZE:
                shown = str(value)[:40] if not whole or abs(value) < 10**30 else "far too large"
                raise _refusal(file, f"says {name}: {shown}", f"a whole number above 0 for {name}")
            sizes.setdefault(size, value)
    return sizes


def _against_tables(sizes: Mapping[str, int], weights: Weights, narrow: bool) -> str | None:
    """A size that contradicts the layers, the embedding or the positions of the weights."""
    layers, rows, context = (sizes.get(size, 0) for size in ("layers", "vocabulary", "context"))
    if layers > weights.layers:
        return f"says {layers:,} layers, and the weights have {weights.layers:,}"
    if rows and weights.vocabulary and rows != weights.vocabulary:
        return f"says vocab_size: {rows:,}, and the embedding has {weights.vocabulary:,} rows"
    if weights.embedding and not narrow and sizes.get("hidden") not in (None, weights.embedding[1]):
        columns = weights.embedding[1]
        return f"says hidden_size: {sizes['hidden']:,}, and the embedding has {columns:,} columns"
    positions = weights.rows(POSITIONS)
    if positions and context > positions:
        return f"says {context:,} positions, and their table in the weights has {positions:,} rows"
    return None


def _against_attention(sizes: Mapping[str, int], weights: Weights) -> str | None:
    """A size that exceeds the projections of attention."""
    heads, hidden, groups = (sizes.get(size, 0) for size in ("heads", "hidden", "groups"))
    if sizes.get("head", 0) * heads * hidden > weights.parameters:
        return f"says head_dim: {sizes['head']:,}, more than all weights together hold"
    width = sizes.get("head", 0) or (hidden // heads if heads else 0)
    keys = weights.rows(KEYS)
    if keys and groups * width > keys:
        return (
            f"says num_key_value_heads: {groups:,}, which with {width:,} numbers each are "
            f"{groups * width:,} rows, and k_proj in the weights has {keys:,}"
        )
    return None


def _against_all(sizes: Mapping[str, int], weights: Weights) -> str | None:
    """A matrix that alone has more numbers than all weights."""
    for size in ("vocabulary", "inner", "experts", "groups"):
        if sizes.get(size, 0) * sizes.get("hidden", 0) > weights.parameters:
            return (
                f"describes a matrix of {sizes[size]:,} x {sizes['hidden']:,}, and all weights "
                f"together have {weights.parameters:,} numbers"
            )
    return None
