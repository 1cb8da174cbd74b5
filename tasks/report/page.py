"""A self-contained HTML page: elements that escape their content, one style sheet, one script.

``Html`` marks text that is markup already; everything else that is put into an element is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tasks.output import escape
from tasks.report.page_assets import SCRIPT, STYLE

VOID = frozenset({"meta", "wbr"})


class Html(str):
    """Text that is safe to put into a page as it is."""


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element. Children and attribute values are escaped unless they are ``Html``.

    Attribute names are written with ``_`` for ``-`` and a trailing ``_`` where Python has the word
    (``class_``). True stands for an attribute without a value, None and False leave it out.
    """
    opening = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Children one after the other, escaped unless they are ``Html``; None is left out."""
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )


def section(anchor: str, title: str, *children: object) -> Html:
    """A part of the page that can be linked to."""
    return tag("section", tag("h2", title), *children, id=anchor)


def note(*children: object) -> Html:
    """A line of small print."""
    return tag("p", *children, class_="note")


def details(summary: object, *children: object, open_: bool = False) -> Html:
    """Content that is folded away until its summary is clicked."""
    return tag("details", tag("summary", summary), *children, open_=open_)


class Cell:
    """A cell of a sortable table: what is shown and the key that it sorts by."""

    def __init__(self, shown: object, key: float | str | None = None):
        self.shown, self.key = shown, key


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    row_classes: Sequence[str] | None = None,
    sortable: bool = False,
) -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        heads: of the columns.
        rows: of cells: ``Cell``, ``Html`` or plain values.
        row_classes: a CSS class for each row.
        sortable: whether a click on a head sorts.
    """
    body = []
    for index, row in enumerate(rows):
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        numeric = [isinstance(cell.key, float) for cell in cells]
        body.append(
            tag(
                "tr",
                *(
                    # A NaN has no place in an order: the script puts an empty key last.
                    tag(
                        "td",
                        cell.shown,
                        data_key="" if cell.key is None or cell.key != cell.key else cell.key,
                        class_="number" if is_number else None,
                    )
                    for cell, is_number in zip(cells, numeric, strict=True)
                ),
                class_=row_classes[index] if row_classes else None,
            )
        )
    head = (tag("th", tag("button", h, type="button") if sortable else h) for h in heads)
    content = tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return tag("div", content, class_="scroll", tabindex="0")


def chart(anchor: str, figure: go.Figure, label: str, min_width: int | None = None) -> Html:
    """A figure, drawn by the page's script; ``label`` says to a screen reader what it shows."""
    # Inside a script element only "</script" and "<!--" could end the data early.
    data = Html(json.dumps(escape.figure_json(figure)).replace("<", "\\u003c"))
    style = f"min-width:{min_width}px" if min_width else None
    holder = tag("div", class_="chart", id=anchor, role="img", aria_label=label, style=style)
    source = tag("script", data, type="application/json", data_for=anchor)
    return tag("div", holder, source, class_="scroll" if min_width else "figure")


def as_json(value: Any) -> Html:
    """Data as a block of readable JSON."""
    return tag("pre", json.dumps(value, indent=2, ensure_ascii=False, default=str))


def page(title: str, *children: object) -> Html:
    """The whole document. Its policy forbids every request to the network."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; "
        # Plotly compiles the drawing code of parallel coordinates when it draws them.
        "script-src 'unsafe-inline' 'unsafe-eval'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
        tag("script", Html(get_plotlyjs())),
    )
    body = tag("body", tag("main", *children), tag("script", Html(SCRIPT)))
    return Html("<!doctype html>\n" + tag("html", head, body, lang="en"))
