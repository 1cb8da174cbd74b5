"""Settings that do not exist: which one was meant, and how a program sets it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from tasks.config.command import OPTIONS
from trials.io.problems import known_keys, place, sentence


def problems_of_settings(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each problem of settings that a program gave.

    A name of an option of the command line, or of a setting within a group, is answered with the
    argument that sets it.
    """
    lines = []
    for problem in error.errors():
        name = place(problem)
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            meant = _meant(name, problem["input"], model)
            text = f"unknown setting{meant}" if meant else sentence(problem, model, "setting")
        else:
            text = sentence(problem, model, "setting")
        lines.append(text if not name or text.startswith(f"{name}: ") else f"{name}: {text}")
    return lines


def _meant(name: str, value: object, model: type[BaseModel]) -> str | None:
    names = _settings_by_name(model)
    near = difflib.get_close_matches(name, names, n=1)
    if not near:
        return None
    [close] = near
    if close == name:
        return f"; expected as {_argument(names[name], repr(value))}"
    if names[close] == close:
        return f"; did you mean {close!r}?"
    return f"; did you mean {close!r}, as {_argument(names[close], '...')}?"


def _settings_by_name(model: type[BaseModel]) -> Mapping[str, str]:
    """All names by which a setting may be known -> its field, as ``schedule.total_steps``."""
    fields = known_keys(model)
    inner = {name: f"{group}.{name}" for group in fields for name in known_keys(model, [group])}
    options = {
        option.removeprefix("--").replace("-", "_"): field
        for field, option in OPTIONS.items()
        if field.partition(".")[0] in fields
    }
    return inner | options | {name: name for name in fields}


def _argument(field: str, value: str) -> str:
    """How a program sets a field: ``schedule={'total_steps': 20}``."""
    group, _, name = field.rpartition(".")
    return f"{group}={{{name!r}: {value}}}" if group else f"{name}={value}"
