"""Problems with settings in plain words, translated from pydantic's.

It speaks to programmers ("Extra inputs are not permitted"); who reads these wrote a file, an option
or an argument, and wants to know what was expected and what is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

LONGEST_FOUND, LONGEST_ERROR = 200, 300  # characters of a value and of an error that are shown
# By the type of pydantic's error; its limits are named as there.
EXPECTED = {
    "missing": "is missing",
    "greater_than": "expected a number above {gt}",
    "greater_than_equal": "expected a number of at least {ge}",
    "less_than": "expected a number below {lt}",
    "less_than_equal": "expected a number of at most {le}",
    "finite_number": "expected a finite number",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "too_short": "expected at least {min_length}",
    "too_long": "expected at most {max_length}",
}
# The same by how its type begins: int_type, int_parsing, int_from_float ...
EXPECTED_KINDS = {
    "int_": "expected a whole number",
    "float_": "expected a number",
    "bool_": "expected true or false",
    "string_type": "expected a text",
    "model_": "expected names and values",
    "dict_": "expected names and values",
    "list_": "expected a list",
    "tuple_": "expected a list",
}


def expectation(
    problem: Mapping[str, Any], model: type[BaseModel] | None = None, noun: str = "key"
) -> str:
    """The value that was expected, or the keys that are known; not what was found.

    Args:
        problem: one of ``ValidationError.errors()``.
        model: that was validated; with it the keys that are known are named.
        noun: what a key is called where it stands.
    """
    kind, limits = str(problem["type"]), problem.get("ctx") or {}
    if kind == "extra_forbidden":
        *above, key = problem["loc"]
        known = known_keys(model, above) if model is not None else ()
        listed = f"; known: {', '.join(known)}" if known else ""
        return f"unknown {noun}{meant(str(key), known) or listed}"
    if kind in EXPECTED:
        return EXPECTED[kind].format_map({name: _plain(limit) for name, limit in limits.items()})
    for beginning, text in EXPECTED_KINDS.items():
        if kind.startswith(beginning):
            return text
    return str(problem["msg"]).removeprefix("Value error, ")


def sentence(
    problem: Mapping[str, Any], model: type[BaseModel] | None = None, noun: str = "key"
) -> str:
    """The expectation, and what was found where that is a plain value."""
    text = expectation(problem, model, noun)
    says = problem["type"] in ("extra_forbidden", "missing", "value_error")
    return text if says else f"{text}, found {shown(problem['input'])}"


def place(problem: Mapping[str, Any]) -> str:
    """The path of the value, as ``schedule.total_steps``; empty for the model as a whole."""
    return ".".join(map(str, problem["loc"]))


def shown(value: object) -> str:
    """A value as it was found, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}..."


def short(error: Exception) -> str:
    """An error on one line, cut where it is long: transformers lists all that it knows."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."


def meant(name: str, known: Collection[str]) -> str:
    """``; did you mean 'total_steps'?``; nothing where none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def known_keys(model: type[BaseModel], path: Collection[object] = ()) -> list[str]:
    """The keys of a model, or of the one that lies at ``path`` in it; none for anything else."""
    inner: type[BaseModel] | None = model
    for name in path:
        if isinstance(name, int):
            continue  # an item of a list, whose type was looked into already
        field = inner.model_fields.get(str(name)) if inner is not None else None
        inner = next(_models(field.annotation), None) if field is not None else None
    return list(inner.model_fields) if inner is not None else []


def _plain(limit: object) -> str:
    if isinstance(limit, int):
        return f"{limit:,}"
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)
