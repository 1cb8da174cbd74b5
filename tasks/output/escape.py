"""Escaping of text from outside the program: one function for each kind of output.

Names, reasons and values come from datasets, folders and models, so they may hold anything: Rich's
markup, terminal escapes, Markdown, HTML. HTML pages are Jinja2 templates, which escape by
themselves; everything else passes through here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from rich import markup
from rich.text import Text

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Control characters move the cursor, set titles or ring; format characters (bidirectional
# overrides, zero-width ones) make one text look like another; surrogates cannot be encoded.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\u200c\u200d"  # scripts and emoji need them; they reorder nothing
MARKDOWN = re.compile(r"[\\`*_\[\]<>|~&:@!#$]|^\s*(?:[-+=]|\d+[.)])|(?<=www)\.", re.IGNORECASE)
FOREIGN_TAG = re.compile(r"<(?!/?(?:b|br|extra)>)")


def printable(text: object, lines: bool = False) -> str:
    r"""The text without anything that a terminal would act on; such characters become ``\x1b``.

    Args:
        text: anything; what is not a string is written as one.
        lines: whether line breaks and tabs are kept, as in an error of several lines.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    kept = "\n\t" if lines else ""
    return "".join(
        character if character in kept or not _is_hidden(character) else _visible(character)
        for character in shown
    )


def rich_markup(text: object, lines: bool = False) -> str:
    """The text for a place where Rich reads markup: printed as it is, brackets and all."""
    return markup.escape(printable(text, lines))


def rich_text(text: object, style: str = "", lines: bool = False) -> Text:
    """The text as Rich's own, in one style; what looks like markup in it is text."""
    return Text(printable(text, lines), style=style)


def markdown(text: object) -> str:
    """The text within a line of Markdown or a cell of its tables: no link, no HTML, no emphasis."""
    return MARKDOWN.sub(_escaped, printable(text))


def code(text: object) -> str:
    """The text as code within a line of Markdown or a cell of its tables."""
    shown = printable(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def figure_json(drawn: go.Figure) -> dict[str, Any]:
    """A Plotly figure as JSON values whose texts hold no tags but ours: bold, and line breaks.

    Plotly reads a subset of HTML in labels, ``<a href=...>`` among it.
    """
    content: dict[str, Any] = json.loads(drawn.to_json())
    return {key: _without_tags(value) for key, value in content.items()}


def _without_tags(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tags(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_tags(each) for each in value]
    return FOREIGN_TAG.sub("&lt;", value) if isinstance(value, str) else value


def _escaped(found: re.Match[str]) -> str:
    if found[0] == "<":
        return "&lt;"  # some renderers take "\\<" for a tag
    return f"{found[0][:-1]}\\{found[0][-1]}"


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN and character not in JOINERS


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
