"""Secrets of the environment are taken out of whatever is kept or shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

# Short words stand between underscores: PATH, PATTERN and MAX_TOKENS hold no secrets.
SECRET_NAMES = re.compile(
    r"SECRET|PASSW(OR)?D|PASSPHRASE|CREDENTIAL|WEBHOOK|BEARER"
    r"|TOKEN(?!IZER|S(_|$))"
    r"|AUTH(?!OR(?!I[SZ]))"  # OAUTH and AUTHORIZATION; no AUTHOR, no AUTHORITY
    r"|(^|_)(PASS|PAT|DSN|COOKIE)(_|$)|_PWD$"
    r"|(API|ACCESS|STORAGE|ACCOUNT|PRIVATE|SIGNING|ENCRYPTION)_?KEY|[A-Z]_KEY$"
    r"|CONN(ECTION)?_?(STR(ING)?|UR[LI])",
    re.IGNORECASE,
)
# Of a URL in any text: who gives it a password means it to be one, whatever the variable is called.
URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/@'\"]+)@")
SHORTEST = 6  # shorter values, as "1" or "true", are no secrets and occur everywhere
MASK = "[secret of the environment]"


def secrets() -> list[str]:
    """Values of environment variables whose names say that they are secret, longest first.

    Each as it is and as programs print it: line by line, escaped, or as a part of a URL.
    """
    return list(_secrets_in(frozenset(os.environ.items())))


def redacted(text: str) -> str:
    """The text without them, and without passwords in URLs."""
    return _hidden(text, lambda secret: MASK)


def redact_file(file: Path) -> None:
    """Takes them out of a file that training processes have written; they print what they like.

    Written in place: a process that is still there goes on writing to the same file.
    """
    try:
        content = file.read_bytes()
        text = content.decode("utf-8", errors="surrogateescape")
        # As long as before, so that whoever follows the file does not lose the place.
        shown = _hidden(text, lambda secret: "*" * len(secret.encode("utf-8", "surrogateescape")))
        if shown == text:
            return
        with file.open("r+b") as stream:
            stream.write(shown.encode("utf-8", errors="surrogateescape"))
    except OSError:  # none was written, or the disk is full: then there is nothing to hide in it
        return


def _hidden(text: str, mask: Callable[[str], str]) -> str:
    for secret in secrets():
        if secret in text:
            text = text.replace(secret, mask(secret))
    if "://" not in text:
        return text
    return URL_PASSWORD.sub(lambda found: f"{found[1]}:{mask(found[2])}@", text)


@lru_cache(maxsize=1)
def _secrets_in(environment: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    found = {
        form
        for name, value in environment
        for secret in _secrets_of(name, value.strip())
        for form in _forms(secret)
        if len(form) >= SHORTEST
    }
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def _secrets_of(name: str, value: str) -> Iterator[str]:
    """What of a variable's value is secret; nothing of most."""
    if password := URL_PASSWORD.search(value):
        yield password[2]
    if not SECRET_NAMES.search(name):
        return
    yield value
    yield from value.splitlines()  # of a private key: logs are read line by line
    if "WEBHOOK" in name.upper():  # what programs say of a request leaves the host out
        yield "/" + value.partition("://")[2].partition("/")[2]


def _forms(secret: str) -> Iterator[str]:
    """As it is, and as ``print(os.environ)``, JSON and URLs write it."""
    secret = secret.strip()
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="", errors="surrogateescape")
