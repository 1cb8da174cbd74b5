"""Writes docs/settings.md: every setting of a run, from the models that check them.

python -m flows.cli.settings_page docs/settings.md     # or: make settings-page
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from tasks.config.options import Setting, table_of
from tasks.config.settings import Budget, CollectSettings, TuneSettings
from tasks.offline.evaluate import OfflineSettings
from tasks.output.templates import environment

TYPES = {int: "integer", float: "number", bool: "true or false", str: "text", Budget: "budget"}


def page() -> str:
    """The page, as Markdown."""
    tune = table_of(TuneSettings)
    of_run = {(row.path, str(row.default)) for row in tune if "." in row.path}
    collected = table_of(CollectSettings)
    rows = {
        "tune": tune,
        "collect": [row for row in collected if (row.path, str(row.default)) not in of_run],
        "offline": table_of(OfflineSettings),
    }
    filters: dict[str, Callable[..., str]]
    filters = {"kind": _type, "default_of": _default, "range_of": _range, "cell": _cell}
    return environment("flows.cli", filters).get_template("settings.md.jinja").render(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "choice"
    if get_origin(kind) is Annotated:
        return _type(get_args(kind)[0])
    if get_origin(kind) in (list, tuple):
        return f"list of {_type(get_args(kind)[0])}s"
    return TYPES[kind]


def _default(row: Setting) -> str:
    if not row.required:
        return _value(row.default)
    return f"`{row.option.default}` (option)" if row.option else "required"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return f"`{value}`"


def _range(row: Setting) -> str:
    """The values that are accepted: ``at least 2, at most 100``, or the choices."""
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = {name: row.bound(name) for name in words}
    return ", ".join(
        f"{words[name]} {_value(limit)}" for name, limit in limits.items() if limit is not None
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
