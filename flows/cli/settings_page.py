"""Writes docs/settings.md: every setting of a run, from the models that check them.

python -m flows.cli.settings_page docs/settings.md     # or: make settings-page
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from tasks.config.options import Setting, table_of
from tasks.config.settings import Budget, CollectSettings, TuneSettings
from tasks.offline.evaluate import OfflineSettings

HEAD = """# Settings

Made from the code by `make settings-page`; do not edit it by hand.

- **option**: on the command line.
- **key**: in the form of a deployment in Prefect, in `run.json` and in Python; before a dot stands
  the group: `autopipe.tune("gcd", schedule={"total_steps": 200})`.
- **default**: where there is none the setting is empty unless it is set.
"""
TUNE = ("autopipe tune", "Settings of a run; `autopipe recurring` has the same.")
COLLECT = (
    "autopipe collect",
    "Settings of a space-filling design. It has the groups `schedule`, `stopping`, `limits` and "
    "`compute` of a run, too, with their options; here is what differs.",
)
OFFLINE = (
    "make offline",
    "Settings of the offline models: section `offline` of `params.yaml`, or the form in Prefect.",
)
TYPES = {int: "integer", float: "number", bool: "true or false", str: "text", Budget: "budget"}


def page() -> str:
    """The page, as Markdown."""
    of_run = {(row.path, str(row.default)) for row in table_of(TuneSettings) if "." in row.path}
    collected = [
        row for row in table_of(CollectSettings) if (row.path, str(row.default)) not in of_run
    ]
    tables = (
        (TUNE, table_of(TuneSettings)),
        (COLLECT, collected),
        (OFFLINE, table_of(OfflineSettings)),
    )
    return "\n".join([HEAD, *(line for heading, rows in tables for line in _table(*heading, rows))])


def _table(title: str, text: str, rows: Iterable[Setting]) -> Iterator[str]:
    yield from (f"## {title}", "", text, "")
    yield "| option | key | type | default | range | meaning |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        flag = f"`{row.flag}`" if row.flag else ""
        cells = (flag, f"`{row.path}`", _type(row.type), _default(row), _range(row), row.meaning)
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""


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
