"""Secrets of the environment are taken out of whatever is kept or shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

# A name is told by its words: DB_PW, PGPASS and apiTokens say secret; MONKEY and COMPASS do not.
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Whatever the value looks like: who calls it that means it.
SECRET_WORD = re.compile(
    r".*(SECRET|PASSW|PASSPHRASE|PASSCODE|CREDENTIAL|WEBHOOK|BEARER|APIKEY|ACCESSKEY|PRIVATEKEY).*"
    r"|.*TOKENS?|(?!COM|BY|TRES|SUR|ENCOM|OVER|UNDER).*PASS|.*PWD?|CREDS?"
    r"|(?!.*AUTHOR(?!I[SZ])).*AUTH.*|PAT|DSN|COOKIES?|SAS|JWT|PSK|CONN(ECTION)?STR(ING)?"
)
# These may be called something harmless as well, so the value has to look like a secret, too.
PERHAPS_WORD = re.compile(
    r"(?!(?:MON|TUR|DON|HOC|JOC|LAC|WHIS|HOT)KEYS?$).*KEYS?"
    r"|HOOKS?|SIG(NATURES?)?|SIGNING|SESSIONS?|OTP|PEM"
)
TOGETHER = re.compile(
    r"CONN(ECTION)?_(STR(ING)?|UR[LI]|INFO)"
    r"|(API|ACCESS|STORAGE|ACCOUNT|PRIVATE|SIGNING|ENCRYPTION)[_.-]?KEYS?(?![A-Z])",
    re.IGNORECASE,
)
NO_SECRETS = frozenset({"PWD", "OLDPWD", "XAUTHORITY"})
COUNTED = frozenset({"MAX", "MIN", "NUM", "COUNT", "LIMIT", "TOTAL", "NEW", "BATCHED"})  # of tokens
# What a secret is like, and not itself.
ABOUT_WORD = re.compile(
    "TYPE|MODE|METHOD|TIMEOUT|TTL|LENGTH|SIZE|COUNT|ENABLED|PARALLELISM|ALGORITHM|PORT"
)
# Of a URL in any text: who gives it a password means it to be one, whatever the variable is called.
URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/@'\"]+)@")
URL_USER = re.compile(r"(?<=://)([^\s/:@'\"]{16,})@")  # a token in the place of a name
# Of Slack, Discord, Teams and the like: who knows the path may write there.
URL_HOOK = re.compile(
    r"(?i)(?<=://)(hooks\.[^\s/'\"]+/|[^\s/'\"]+/(?:[^\s/'\"?#]+/){0,5}webhooks?\w*/)"
    r"([^\s'\"?#<>]{16,})"
)
URL_PARAMETER = re.compile(r"(?<=[?&;#])([\w.%-]{1,100})=([^\s&;#'\"<>]+)")
HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-api-key|api-key|(?:set-)?cookie|x-auth-token)"
    r"(['\"]?\s*[:=]\s*['\"]?)([^\r\n'\"]{6,})"
)
BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)([\w.~+/-]{12,}=*)")
PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.+?)(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# Tokens that say themselves what they are: of GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS and
# Google, and JSON web tokens.
KNOWN = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
SHORTEST = 6  # shorter values, as "1" or "true", are no secrets and occur everywhere
HARMLESS = re.compile(
    "true|false|enabled|disabled|required|optional|default|ignore|always|never|nothing",
    re.IGNORECASE,
)
MASK = "[secret of the environment]"


def has_secret(url: str) -> bool:
    """True if a URL contains a password or another secret."""
    return _without_patterns(url, lambda secret: MASK) != url


def redacted(text: str) -> str:
    """The text without secrets of the environment, and without passwords in URLs."""
    return _hidden(text, lambda secret: MASK)


def redact_file(file: Path) -> None:
    """Takes secrets out of a file that training processes have written; they print what they like.

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
    for secret in _secrets_in(frozenset(os.environ.items())):
        if secret in text:
            text = text.replace(secret, mask(secret))
    return _without_patterns(text, mask)


def _without_patterns(text: str, mask: Callable[[str], str]) -> str:
    """The text without secrets that are told by what stands around them, whoever's they are."""
    if "PRIVATE KEY-----" in text:
        text = PRIVATE_KEY.sub(lambda found: found[1] + mask(found[2]), text)
    if "://" in text:
        text = URL_PASSWORD.sub(lambda found: f"{found[1]}:{mask(found[2])}@", text)
        text = URL_USER.sub(
            lambda found: f"{mask(found[1])}@" if _looks_secret(found[1]) else found[0], text
        )
        text = URL_HOOK.sub(
            lambda found: found[1] + mask(found[2]) if _has_digit(found[2]) else found[0], text
        )
    if "=" in text:
        text = URL_PARAMETER.sub(lambda found: _parameter(found, mask), text)
    text = HEADER.sub(lambda found: found[1] + found[2] + mask(found[3]), text)
    text = BEARER.sub(
        lambda found: found[1] + found[2] + mask(found[3]) if _has_digit(found[3]) else found[0],
        text,
    )
    return KNOWN.sub(lambda found: mask(found[0]), text)


def _parameter(found: re.Match[str], mask: Callable[[str], str]) -> str:
    name, value = found[1], found[2]
    secret = _is_secret_parameter(name, value)
    return f"{name}={mask(value)}" if secret and MASK[0] != value[0] else found[0]


def _is_secret_parameter(name: str, value: str) -> bool:
    if name.upper() == "PWD":  # of a connection string, where it is no folder
        return not value.startswith("/")
    if name.upper() == "CODE":  # of a URL, where one may let somebody in
        return _looks_secret(value)
    return _says_secret(name) or (_may_say_secret(name) and len(value) >= SHORTEST)


def _says_secret(name: str) -> bool:
    if name.upper() in NO_SECRETS:
        return False
    if TOGETHER.search(name):
        return True
    words = _words(name)
    if not words or ABOUT_WORD.fullmatch(words[-1]):
        return False
    counted = not COUNTED.isdisjoint(words)
    return any(SECRET_WORD.fullmatch(word) and not (counted and word == "TOKENS") for word in words)


def _may_say_secret(name: str) -> bool:
    words = _words(name)
    return any(map(PERHAPS_WORD.fullmatch, words)) and not ABOUT_WORD.fullmatch(words[-1])


def _words(name: str) -> list[str]:
    return [word.upper() for word in WORDS.findall(name)]


def _looks_secret(value: str) -> bool:
    """True if a value is not a plain word, number or path."""
    if value.startswith("-----BEGIN"):
        return True
    plain = value.isdecimal() or (value.isalpha() and (value.islower() or value.istitle()))
    return len(value) >= 8 and not plain and (_has_digit(value) or not value.islower())


def _has_digit(text: str) -> bool:
    return any(character.isdecimal() for character in text)


@lru_cache(maxsize=1)
def _secrets_in(environment: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    """Values of variables whose names say that they are secret, longest first.

    Each as it is and as programs print it: line by line, escaped, or as a part of a URL.
    """
    found = {
        form
        for name, value in environment
        for secret in _secrets_of(name, value.strip())
        for form in _forms(secret)
        if len(form) >= SHORTEST
    }
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def _secrets_of(name: str, value: str) -> Iterator[str]:
    """The secret parts of a variable's value; most have none."""
    if password := URL_PASSWORD.search(value):
        yield password[2]
    for found in URL_PARAMETER.finditer(value):
        if _is_secret_parameter(found[1], found[2]):
            yield found[2]
    looks = _looks_secret(value) or "://" in value
    said = _says_secret(name) or (_may_say_secret(name) and looks)
    if not said or HARMLESS.fullmatch(value) or _is_path(value):
        return
    yield value
    yield from value.splitlines()  # of a private key: logs are read line by line
    if "HOOK" in name.upper():  # what programs say of a request leaves the host out
        yield "/" + value.partition("://")[2].partition("/")[2]


def _is_path(value: str) -> bool:
    """True if it is the path of a secret, as in SSH_AUTH_SOCK."""
    with suppress(OSError, ValueError):
        return value.startswith("/") and "\n" not in value and Path(value).exists()
    return False


def _forms(secret: str) -> Iterator[str]:
    """A secret verbatim, and as ``print(os.environ)``, JSON and URLs write it."""
    secret = secret.strip()
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="", errors="surrogateescape")
