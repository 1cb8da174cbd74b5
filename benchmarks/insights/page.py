"""Tables of a page in Markdown that a command keeps up to date; the prose around them is by hand.

A table stands between the lines ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.insights.marginals import compact
from benchmarks.insights.steps import REFERENCE, Insights
from tasks.output.templates import environment
from tasks.runs.formatting import format_number
from trials.io.errors import SettingsError

TEMPLATE = "tables.md.jinja"
BLOCK = re.compile(r"(<!-- begin: (?P<name>[a-z-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.S)
MARKER = re.compile(r"<!-- (?:begin|end): ([a-z-]+) -->")
MISSING = "The history has nothing to answer this with.\n"
HEAD_LINES = 2  # of a table without rows


def update_page(page: Path, found: Insights) -> None:
    """Write every table into its place in a page.

    Raises:
        SettingsError: no such page, or a marker in it that is unknown or not closed.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{page}: expected a page in Markdown, found: {error}") from None
    page.write_text(filled(text, blocks(found), str(page)), encoding="utf-8")


def filled(text: str, content: Mapping[str, str], place: str = "page") -> str:
    """The text with the content between its markers replaced.

    Raises:
        SettingsError: a marker whose name is unknown, or without its counterpart.
    """
    whole = {match["name"] for match in BLOCK.finditer(text)}
    for name in MARKER.findall(text):
        if name not in content:
            known = ", ".join(content)
            raise SettingsError(f"{place}: marker {name!r}: expected one of {known}")
        if name not in whole:
            raise SettingsError(f"{place}: marker {name!r}: expected a begin and an end after it")
    return BLOCK.sub(lambda m: f"{m[1]}{content[m['name']]}{m[3]}", text)


def blocks(found: Insights) -> dict[str, str]:
    """Every table by the name of its place."""
    template = environment("benchmarks.insights", {}).get_template(TEMPLATE)
    tops = (re.fullmatch(r"regret(\d+)", str(name)) for name in found.tables["agreement"])
    context = template.new_context(
        {name: table.to_dict("records") for name, table in found.tables.items()}
        | {"counts": found.counts, "reference": REFERENCE, "top": [top[1] for top in tops if top]}
        | {"number": format_number, "se": _with_error, "amount": _amount}
    )
    made = {name: "".join(block(context)) for name, block in template.blocks.items()}
    return {
        name: MISSING if text.count("\n") == HEAD_LINES else text for name, text in made.items()
    }


def _with_error(row: Mapping[str, Any], name: str, scale: float = 1.0, digits: int = 2) -> str:
    """A mean and its standard error, where there is one."""
    value, se = scale * float(row[name]), scale * float(row[f"{name}_se"])
    text = format_number(value, digits)
    return text if pd.isna(se) else f"{text} ± {format_number(se, digits)}"


def _amount(rule: Mapping[str, Any], name: str) -> str:
    """A number of a rule; a difference of logarithms is shown as a ratio."""
    value = float(rule[name])
    if rule["unit"] == "decades" and not pd.isna(value):
        return compact(10**value)
    return format_number(value, 2)
