"""Prompt templates: text with the names of fields in braces, and nothing else.

``str.format`` would also read attributes, call ``__format__`` with widths out of the data's card
and index into values; a template needs none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from trials.io.errors import RowLocation
from trials.io.problems import shown

MAX_PROMPT_CHARACTERS = 10_000_000  # characters


@lru_cache
def parse_template(template: str) -> tuple[tuple[str, str | None], ...]:
    """Literal texts of a template, each with the field that follows it, or None.

    Raises:
        ValueError: for broken braces, and for anything but plain names inside them.
    """
    found = []
    for literal, name, spec, conversion in Formatter().parse(template):
        if name is not None and (spec or conversion or not name or set(name) & set(".[]")):
            raise ValueError(
                f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}} "
                "is more than the name of a field"
            )
        found.append((literal, name))
    return tuple(found)


def fill_template(template: str, row: Mapping[str, Any], location: RowLocation) -> str:
    """The template with the row's own values.

    Raises:
        DatasetError: when it is not a template, names a field that the row lacks or one that is
            neither text nor number, or makes a text longer than ``MAX_PROMPT_CHARACTERS``.
    """
    try:
        parts = parse_template(template)
        texts = [literal + ("" if name is None else _value(row, name)) for literal, name in parts]
        length = sum(map(len, texts))
        if length > MAX_PROMPT_CHARACTERS:
            raise ValueError(f"it makes {length:,} characters, more than {MAX_PROMPT_CHARACTERS:,}")
    except ValueError as error:
        problem = f"the prompt template {shown(template)} does not fit the row: {error}"
        raise location.error(problem, f"only fields of the row: {', '.join(row)}") from None
    return "".join(texts)


def _value(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        raise ValueError(f"there is no field {name!r}")
    value = row[name]
    if not isinstance(value, str | int | float):
        raise ValueError(f"{name} is a {type(value).__name__}, not a text")
    return str(value)
