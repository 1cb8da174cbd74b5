"""Conversion of a .gguf file to an ordinary model folder, done once."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from trials.io.atomic import new_folder
from trials.io.errors import ModelError
from trials.io.hashing import content_hash
from trials.io.text_files import first_bytes, named

# Of the header, as ggml's docs/gguf.md describes it: bytes of a value by its type.
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY = 8, 9
MOST_ENTRIES, MOST_DIMENSIONS = 1_000_000, 8


def convert_gguf(file: Path, cache: Path) -> Path:
    """Converts a .gguf file to a float32 folder under ``cache`` and returns the folder.

    Transformers loads GGUF weights dequantised but refuses to save them until the traces of the
    quantiser are gone from the model.

    Raises:
        ModelError: when the file is missing or cannot be read as a model.
    """
    if not file.is_file():
        raise ModelError(f"no file {file}; expected a .gguf model")
    check_gguf(file)
    digest = content_hash(f"{file.resolve()}:{file.stat().st_size}", digits=8)
    folder = cache / f"{file.stem}-{digest}"
    if (folder / "config.json").exists():
        return folder.resolve()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # A config.json beside the file could name code of its own.
        place, name = str(file.parent), file.name
        model: Any = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=name, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name, trust_remote_code=False)
    except ImportError:
        raise ModelError("reading .gguf files needs a package: pip install gguf") from None
    except MemoryError:
        raise
    except Exception as error:  # a file that is cut short can fail anywhere in its readers
        found = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{file} cannot be read as a model: {found}\n  expected: a whole .gguf file of an "
            "architecture that transformers reads"
        ) from None
    # The weights are plain float32 by now; only these marks keep them from being saved.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with new_folder(folder) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return folder.resolve()


def check_gguf(file: Path) -> None:
    """Refuses, with a ModelError, a file that is GGUF by its name but not by its first bytes."""
    head = first_bytes(file)
    if not head.startswith(b"GGUF"):
        found = named(head, file) or "something else"
        raise ModelError(f"{file} is not a GGUF file but {found}\n  expected: a .gguf model")


def count_parameters(file: Path) -> int | None:
    """Parameters of a .gguf file, from its header alone; None where that cannot be read."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return None
            _, tensors, entries = struct.unpack("<IQQ", stream.read(20))
            if max(tensors, entries) > MOST_ENTRIES:
                return None
            for _ in range(entries):
                _skip_text(stream)
                _skip_value(stream, _number(stream, "<I"))
            return sum(_elements(stream) for _ in range(tensors)) or None
    except (OSError, struct.error, KeyError, ValueError):  # a length beyond what a file can have
        return None


def _number(stream: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, stream.read(struct.calcsize(form)))[0])


def _skip_text(stream: BinaryIO) -> None:
    stream.seek(_number(stream, "<Q"), os.SEEK_CUR)


def _skip_value(stream: BinaryIO, kind: int) -> None:
    if kind == TEXT:
        _skip_text(stream)
    elif kind == ARRAY:
        inner, count = _number(stream, "<I"), _number(stream, "<Q")
        if inner == TEXT:
            for _ in range(count):  # ends with the file, whatever the count says
                _skip_text(stream)
        else:
            stream.seek(WIDTHS[inner] * count, os.SEEK_CUR)
    else:
        stream.seek(WIDTHS[kind], os.SEEK_CUR)


def _elements(stream: BinaryIO) -> int:
    """Elements of the next tensor."""
    _skip_text(stream)
    dimensions = _number(stream, "<I")
    if dimensions > MOST_DIMENSIONS:
        raise KeyError(dimensions)
    shape = [_number(stream, "<Q") for _ in range(dimensions)]
    stream.seek(12, os.SEEK_CUR)  # its type, and where it lies
    return math.prod(shape)
