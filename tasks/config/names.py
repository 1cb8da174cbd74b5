"""Names: as people call datasets and models, and as parts of paths and URLs, checked here, once.

``..`` leads out of the folder that it is in, ``?`` and ``#`` end the path of a URL, ``*`` and ``[``
stand for many files when something is removed, and ``%2e`` is a dot to whoever decodes it. Behind
the functions that check a name it is one plain name.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from trials.io.errors import SettingsError
from trials.io.hashing import content_hash
from trials.io.redact import redacted

FILES = (".jsonl", ".json", ".gguf", ".parquet", ".csv")  # "Llama-3.2-1B" ends in no such thing
EXPECTED = "s3://bucket/folder, gs://..., sftp://host/folder or file:///folder"
# Of a run, and of what else AutoPipe itself names on a storage.
PLAIN = re.compile(r"(?![.\s])[^\x00-\x1f\x7f/\\?#%*\[\]{}:]{1,255}(?<!\s)")
# Of files of people, which are only ever a part of a longer path.
UNFIT_PART = re.compile(r"\.{0,2}|.*[\x00-\x1f\x7f/\\?#].*", re.DOTALL)
LOCAL = ("file", "local")


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


def stored_name_of(url: str) -> tuple[str, str]:
    """The storage and the name of a run's URL; a SettingsError if one of them cannot be used."""
    store, _, run = url.rstrip("/").rpartition("/")
    try:
        return checked_store(store), checked_name(run)
    except ValueError as error:
        raise SettingsError(
            f"{redacted(url)!r} is not the URL of a run: {error}\n"
            "  expected the URL of a store, then the run's name, such as s3://bucket/folder/gcd-001"
        ) from None


def checked_name(name: str) -> str:
    """The name of a run, a trial or a fingerprint; a ValueError unless it is a single plain one."""
    if not PLAIN.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name; expected letters, digits, dashes and dots, "
            "not starting with a dot"
        )
    return name


def checked_path(path: str) -> str:
    """The path below a store; a ValueError unless all its parts are names and none leads out."""
    for part in path.split("/"):
        if UNFIT_PART.fullmatch(part):
            raise ValueError(f"{path!r} is not a path below a store: it has the part {part!r}")
    return path


def checked_store(url: str) -> str:
    """The URL; a ValueError unless it is that of a folder and nothing else."""
    scheme, found, rest = url.partition("://")
    shown = repr(redacted(url))
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z0-9+.-]+)*", scheme):
        raise ValueError(f"{shown} is not a URL; expected one such as {EXPECTED}")
    if re.search(r"[\x00-\x20\x7f\\?#*\[\]]|%2e|%2f|%5c", _path_of(url), re.IGNORECASE):
        raise ValueError(
            f"{shown} has a query, an encoded or a special character in its path; "
            f"expected one such as {EXPECTED}"
        )
    parts = rest.rstrip("/").split("/")
    if {".", ".."} & set(parts) or "" in parts[1:]:
        raise ValueError(f"{shown} has the part '..', '.' or an empty one in its path")
    if scheme in LOCAL and (not rest.startswith("/") or len(parts) < 2):
        raise ValueError(f"{shown} is not an absolute path; expected file:///folder")
    return url


def _path_of(url: str) -> str:
    """All but the host, which may be an IPv6 address in brackets."""
    try:
        host = urlsplit(url).netloc
    except ValueError:  # brackets that do not close
        return url
    return url.replace(host, "", 1) if host else url
