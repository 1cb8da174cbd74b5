"""The hash that names content: of files, settings and tables."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content_hash(*parts: str | bytes, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of parts one after another, texts as UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:digits]


def file_hash(file: Path) -> str:
    """SHA-256 of a file of any size, as 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
