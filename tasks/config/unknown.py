"""Settings that do not exist: which one was meant, and how a program sets it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from tasks.config.options import flags_of, table_of
from trials.io.problems import place, sentence


def problems_of_settings(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A line on each problem of settings that a program gave; on a wrong name, what sets it."""
    lines = []
    for problem in error.errors():
        name, text = place(problem), sentence(problem, model, "setting")
        unknown = problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1
        if unknown and (meant := _meant(name, problem["input"], model)):
            text = f"unknown setting{meant}"
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
    paths = [row.path for row in table_of(model) if row.path.count(".") < 2]
    flags = flags_of(model).items()
    options = {flag.removeprefix("--").replace("-", "_"): path for path, flag in flags}
    names = {path.rpartition(".")[2]: path for path in paths}
    return names | options | {name: name for name in model.model_fields}


def _argument(field: str, value: str) -> str:
    """The argument that sets a field: ``schedule={'total_steps': 20}``."""
    group, _, name = field.rpartition(".")
    return f"{group}={{{name!r}: {value}}}" if group else f"{name}={value}"
