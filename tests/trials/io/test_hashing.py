from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from trials.io.hashing import content_hash, file_hash


def test_parts_are_hashed_one_after_another() -> None:
    whole = sha256("Größe 1".encode()).hexdigest()
    assert content_hash("Größe 1", digits=64) == whole
    assert content_hash("Grö", "ße".encode(), b"", " 1") == whole[:16]


def test_a_file_is_hashed_by_its_content_alone(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"\0\xff")
    assert file_hash(file) == sha256(b"\0\xff").hexdigest()
