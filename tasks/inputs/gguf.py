"""Conversion of a .gguf file to an ordinary model folder, done once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trials.io.atomic import new_folder
from trials.io.errors import ModelError
from trials.io.hashing import content_hash
from trials.io.text_files import first_bytes, named


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
