"""Fingerprints of models: two folders with the same weights are the same model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from trials.io.atomic import write_text
from trials.io.errors import ModelError
from trials.io.hashing import content_hash, file_hash

# What decides how a model starts and how its text is read; notes and pictures do not.
CONTENT = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def model_fingerprint(model: str, cache: Path) -> str | None:
    """Content hash of a model folder, 16 hexadecimal digits; None for a hub id.

    Hashing tens of gigabytes takes a while, so it is done once for each state of the folder (names,
    sizes and times of its files) and kept in ``cache``.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    known = cache / (state := _state(folder))
    if not known.exists():
        write_text(known, _content(folder, state))
    return known.read_text(encoding="utf-8")


def check_model_unchanged(model: str, expected: str) -> None:
    """Compares a model folder with its fingerprint; read once by a process for each state of it.

    Raises:
        ModelError: the weights are others than those that the run began with.
    """
    folder = Path(model)
    found = _content(folder, _state(folder)) if folder.is_dir() else None
    if found is not None and found != expected:
        raise ModelError(
            f"model {model} changed since the run began: fingerprint {found}\n"
            f"  expected: {expected}; restore the folder, or start a new run"
        )


@lru_cache(maxsize=4)
def _content(folder: Path, state: str) -> str:
    files = _files(folder)
    return content_hash(
        *(part for file in files for part in (file.name, b"\0", bytes.fromhex(file_hash(file))))
    )


def _state(folder: Path) -> str:
    files = _files(folder)
    stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return content_hash(repr((str(folder.resolve()), files, stats)), digits=24)


def _files(folder: Path) -> list[Path]:
    return sorted({file for pattern in CONTENT for file in folder.glob(pattern)})
