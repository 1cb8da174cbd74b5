"""Jinja2 templates: texts for people that lie in the folder ``templates`` of a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(
    package: str, filters: Mapping[str, Callable[..., Any]], autoescape: bool = False
) -> Environment:
    """The templates of a package, in which an unknown name is an error.

    Args:
        package: as ``tasks.report``.
        filters: functions that templates apply to values, by name.
        autoescape: for HTML. Markdown has the filters of ``tasks.output.escape``.
    """
    found = Environment(
        loader=PackageLoader(package),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= filters
    return found
