"""Datasets and models as people call them, from names, folders, files and hub ids."""

from __future__ import annotations

import re
from pathlib import Path

from trials.io.hashing import content_hash

FILES = (".jsonl", ".json", ".gguf", ".parquet", ".csv")  # "Llama-3.2-1B" ends in no such thing


def short_name(source: str) -> str:
    """The last part of a name, without the ending of a file."""
    name = Path(source).name
    for ending in FILES:
        name = name.removesuffix(ending)
    return name or source


def slug(name: str) -> str:
    """A name from outside as the name of a folder: it never becomes a path."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".") or "unnamed"


def own_slug(*sources: str) -> str:
    """A folder's name for just these sources: others of the same short names get another one."""
    digest = content_hash("\n".join(sources), digits=8)
    return "--".join([*(slug(short_name(source)) for source in sources), digest])
