"""Names in URLs and on shared storage: what becomes part of a path is checked here, once.

``..`` leads out of the folder that it is in, ``?`` and ``#`` end the path of a URL, ``*`` and ``[``
stand for many files when something is removed, and ``%2e`` is a dot to whoever decodes it. Behind
these functions a name is one plain name.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from trials.io.errors import SettingsError
from trials.io.redact import redacted

EXPECTED = "s3://bucket/folder, gs://..., sftp://host/folder or file:///folder"
# Of a run, and of what else AutoPipe itself names on a storage.
PLAIN = re.compile(r"(?![.\s])[^\x00-\x1f\x7f/\\?#%*\[\]{}:]{1,255}(?<!\s)")
# Of files of people, which are only ever a part of a longer path.
UNFIT_PART = re.compile(r"\.{0,2}|.*[\x00-\x1f\x7f/\\?#].*", re.DOTALL)
LOCAL = ("file", "local")


class StoredName(NamedTuple):
    """A run on shared storage."""

    store: str
    run: str


def stored_name_of(url: str) -> StoredName:
    """The storage and the name of a run's URL.

    Raises:
        SettingsError: either is none that can be used.
    """
    store, _, run = url.rstrip("/").rpartition("/")
    try:
        return StoredName(checked_store(store), checked_name(run))
    except ValueError as error:
        raise SettingsError(
            f"{redacted(url)!r} is not the URL of a run: {error}\n"
            "  expected the URL of a store, then the run's name, as s3://bucket/folder/gcd-001"
        ) from None


def checked_name(name: str) -> str:
    """The name, if it is a single plain one: of a run, a trial, a fingerprint.

    Raises:
        ValueError: it is none.
    """
    if not PLAIN.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name; expected letters, digits, dashes and dots, "
            "with no dot at the beginning"
        )
    return name


def checked_path(path: str) -> str:
    """The path below a store, if all its parts are names and none leads out.

    Raises:
        ValueError: it is none.
    """
    for part in path.split("/"):
        if UNFIT_PART.fullmatch(part):
            raise ValueError(f"{path!r} is no path below a store: it has the part {part!r}")
    return path


def checked_store(url: str) -> str:
    """The URL, if it is that of a folder and nothing else.

    Raises:
        ValueError: it is none.
    """
    scheme, found, rest = url.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z0-9+.-]+)*", scheme):
        raise ValueError(f"{redacted(url)!r} is no URL; expected one as {EXPECTED}")
    if re.search(r"[\x00-\x20\x7f\\?#*\[\]]|%2e|%2f|%5c", _path_of(url), re.IGNORECASE):
        raise ValueError(
            f"{redacted(url)!r} has a query, an encoded or a special character in its path; "
            f"expected one as {EXPECTED}"
        )
    parts = rest.rstrip("/").split("/")
    if {".", ".."} & set(parts) or "" in parts[1:]:
        raise ValueError(f"{redacted(url)!r} has the part '..', '.' or an empty one in its path")
    if scheme in LOCAL and (not rest.startswith("/") or len(parts) < 2):
        raise ValueError(
            f"{redacted(url)!r} does not name a folder from the root on; expected file:///folder"
        )
    return url


def _path_of(url: str) -> str:
    """All but the host, which may be an IPv6 address in brackets."""
    try:
        host = urlsplit(url).netloc
    except ValueError:  # brackets that do not close
        return url
    return url.replace(host, "", 1) if host else url
