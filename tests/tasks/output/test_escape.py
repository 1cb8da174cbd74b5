"""Names that try to act on what shows them."""

from __future__ import annotations

import io

import plotly.graph_objects as go
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from tasks.output import escape

HOSTILE = [
    "[link=https://example.org]click[/link]",
    "[/x]",
    "[red]alert[/]\\",
    "\\[bold]",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "abc\u202ecba",
    "a\rb\nc",
    "\udcff.jsonl",
    "<img src=x onerror=alert(1)>",
    "`code` **bold** _em_ ~~gone~~",
    "[a](https://example.org) ![b](https://example.org/b.png)",
    "https://example.org www.example.org me@example.org",
    "| a | b |",
    "# head",
    "1. one",
    "- item",
    "&lt;b&gt;",
    "$x$",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_terminal_gets_text_and_nothing_to_act_on(name):
    out = io.StringIO()
    console = Console(file=out, color_system=None, width=200)
    console.print(f"[bold]{escape.rich_markup(name)}[/bold]", highlight=False)
    console.print(escape.rich_text(name), highlight=False)
    shown = out.getvalue()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert shown == f"{escape.printable(name)}\n" * 2
    shown.encode("utf-8")


def test_ordinary_names_stay_as_they_are():
    for name in ("gcd-001", "Größe 3", "数学", "👩‍👩‍👧", "می‌خواهم", "a [b] c"):
        assert escape.printable(name) == name


def test_an_error_keeps_its_lines():
    assert escape.printable("one\n\ttwo\x1b", lines=True) == "one\n\ttwo\\x1b"
    assert escape.printable("one\ntwo") == "one\\ntwo"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("before", ["", "run "])
def test_markdown_shows_the_name_as_text(name, before):
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    source = (
        f"| head |\n| --- |\n| {before}{escape.markdown(name)} |\n\n{before}"
        + escape.markdown(name)
    )
    for token in reader.parse(source):
        kinds = {child.type for child in token.children or []}
        assert kinds <= {"text", "text_special"}, kinds
        assert token.type in ("inline", "html_block") or token.tag in (
            *("table", "thead", "tbody", "tr", "th", "td", "p"),
        )
        assert token.type != "html_block"


@pytest.mark.parametrize("name", ["plain", "a`b", "``", "x|y", "`", "<b>"])
def test_code_in_markdown_is_one_span(name):
    [_, inline, _] = MarkdownIt("commonmark").parse(f"see {escape.code(name)} there")
    assert [child.type for child in inline.children or []] == ["text", "code_inline", "text"]


def test_figures_show_tags_as_text():
    drawn = go.Figure(
        go.Bar(
            x=[1, 2],
            y=['<a href="javascript:x">a</a>', "< b"],
            hovertemplate="<b>%{y}</b><br>x<extra></extra>",
        ),
        layout={"title": {"text": "<A HREF=x>t</A><b onclick=x>"}},
    )
    shown = escape.figure_json(drawn)
    [bar] = shown["data"]
    assert bar["y"] == ['&lt;a href="javascript:x">a&lt;/a>', "&lt; b"]
    assert bar["hovertemplate"] == "<b>%{y}</b><br>x<extra></extra>"
    assert shown["layout"]["title"]["text"] == "&lt;A HREF=x>t&lt;/A>&lt;b onclick=x>"
    assert go.Figure(shown).to_plotly_json()["data"][0]["x"] is not None
