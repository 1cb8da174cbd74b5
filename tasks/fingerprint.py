"""What a model is, by content: two folders with the same weights are the same model."""

from __future__ import annotations

import hashlib
from pathlib import Path

# What decides how a model starts and how its text is read; notes and pictures do not.
CONTENT = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def model_fingerprint(model: str, cache: Path) -> str | None:
    """Content hash of a model folder, 16 hexadecimal digits; None for a hub id.

    Args:
        model: folder or hub id.
        cache: hashing tens of gigabytes takes a while, so it is done once for each state of the
            folder (names, sizes and times of its files) and kept here.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted({file for pattern in CONTENT for file in folder.glob(pattern)})
    stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    state = hashlib.sha256(repr((str(folder.resolve()), files, stats)).encode()).hexdigest()[:24]
    known = cache / state
    if not known.exists():
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").digest()
            digest.update(file.name.encode() + b"\0" + content)
        cache.mkdir(parents=True, exist_ok=True)
        partial = known.with_name(f"{state}.partial")
        partial.write_text(digest.hexdigest()[:16], encoding="utf-8")
        partial.replace(known)
    return known.read_text(encoding="utf-8")
