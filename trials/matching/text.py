"""The part of a text that states the answer, and one form for what people read as the same.

Models write answers in bold, in quotes, in ``\\boxed``, behind labels, with digits, dashes and
spaces of every kind. What is undone here has no meaning of its own; numbers and choices are read
elsewhere.
Every step takes time linear in the text, or in a window of it, so none can be made to run on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from trials.matching import phrases

# More of a text than this is never looked at; its end is, for that is where answers stand.
READ_CHARACTERS = 20_000
DEFAULT_MARKER = "Answer:"
KNOWN_MARKERS = ("####", "\\boxed{")  # of solutions in well-known datasets

# Letters of these are written without spaces between words, so a neighbour says nothing.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
)

# Of these and of Hangul, as a class of a regular expression.
UNSPACED = "".join(f"{chr(low)}-{chr(high)}" for low, high in (*_UNSPACED, (0xAC00, 0xD7AF)))

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")
_PLAIN_SUPERSCRIPT = str.maketrans(_SUPERSCRIPTS, "0123456789+-")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_SAME = str.maketrans(
    dict.fromkeys("‐‑‒–—―−﹘﹣⁃", "-")
    | dict.fromkeys("‘’‚‛`´ʼʹ′‹›", "'")
    | dict.fromkeys("“”„‟«»″〝〞「」『』", '"')
    | {"⁄": "/", "∕": "/", "٫": ".", "٬": ",", "،": ",", "⋅": "·", "∙": "·", "•": "·", "、": ","}
    | {"。": ". ", "｡": ". "}
)
_EMPHASIS = re.compile(
    r"(?<![\w*\\])(\*{1,3}|_{1,3}|`{1,3})(?=\S)(.{0,300}?\S)\1(?![\w*])", re.DOTALL
)
_STRUCK = re.compile(r"(?<!~)~~(?=[^\s~])([^~\n]{0,300}[^\s~])~~(?!~)")
_BOLD = re.compile(r"(?<![\w*\\])(\*\*|__)(?=[^\s*_])([^\n]{0,200}?[^\s*_])\1(?![\w*])(?!\s*:)")
_OPENED = re.compile(r"([*_]{1,3})[^*_\n]*$")
_BROKEN_OFF = re.compile(r"(?<=[^\W\d_])\s?[—―]\s?(?=\w)")
_FENCE = re.compile(r"^[ \t]*```\w*[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE)
_CLOSING_TAG = re.compile(r"\s*</[\w-]{1,40}>\s*$")
_END_TOKEN = re.compile(r"(?:\s|<\|[^|<>\n]{1,40}\|>|</s>|<eos>|<end_of_turn>){1,20}\Z")
_THOUGHT = "</think>"
_BOXES = ("\\boxed", "\\fbox")
_TEXT_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|emph)\s*\{([^{}]*)\}"
)

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_BRACKETS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "$": "$"}


def normalize(text: str) -> str:
    """The text in one Unicode form, with plain digits, dashes, quotes and spaces.

    Compatible and decomposed characters are composed (NFKC), but ``10²`` becomes ``10^2`` and
    ``2½`` becomes ``2 1/2``. Invisible marks, such as those of the writing direction, are removed.
    """
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda m: "^" + m[0].translate(_PLAIN_SUPERSCRIPT), text)
    text = _BROKEN_OFF.sub(" - ", text)
    text = _VULGAR.sub(_spelt_out, text).translate(_SAME)
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    visible = (c for c in text if c.isascii() or unicodedata.category(c) != "Cf")
    return "".join(str(unicodedata.decimal(c, c)) for c in visible)


def _spelt_out(match: re.Match[str]) -> str:
    before = match.string[: match.start()][-1:]
    return " " * before.isdigit() + unicodedata.normalize("NFKC", match[0]).replace("⁄", "/")


def strip_markdown(text: str) -> str:
    """The text without Markdown's emphasis, code spans, headings and what it strikes out."""
    text = _STRUCK.sub(" ", _FENCE.sub("", text))
    for _ in range(3):  # bold within italics within code
        text, found = _EMPHASIS.subn(r"\2", text)
        if not found:
            break
    return _HEADING.sub("", text)


def final_answer(completion: str, marker: str, lines: int = 1) -> str:
    """The text behind the last marker, up to the end of its line; all of it without a marker.

    Answers of several lines, such as matrices, are read with as many ``lines``.

    A marker is found in another case too (``answer:``), and where emphasis splits it
    (``**Answer**:``). A closing tag at the end, as of ``<answer>``, is left out. Behind the marker
    ``\\boxed{`` the answer ends where the box does.
    """
    completion = without_thinking(completion, marker)[-READ_CHARACTERS:]
    if marker.rstrip("{ ") in _BOXES and (box := last_boxed(completion)) is not None:
        return box
    for text in (completion, strip_markdown(normalize(completion))):
        found = [match.span() for match in re.finditer(re.escape(marker), text, re.IGNORECASE)]
        if marker and found:
            behind = _within_emphasis(text, *found[-1]).strip()
            said = "\n".join(behind.split("\n")[:lines])
            return _CLOSING_TAG.sub("", _offered_before(text, found) + said).strip()
    return completion.strip()


def _within_emphasis(text: str, begin: int, end: int) -> str:
    """The text behind a marker, without the end of emphasis begun before it: "**Answer:** 4"."""
    behind = text[end:]
    opened = _OPENED.search(text[max(0, begin - phrases.WINDOW) : begin])
    if not opened:
        return behind
    mark = re.escape(opened[1])
    closes = re.match(rf"\s*{mark}(?=\s|$)|[^*_\n]*[^\s*_]{mark}(?=[ \t]*(?:\n|$))", behind)
    return closes[0].replace(opened[1], "", 1) + behind[closes.end() :] if closes else behind


def only_bold(text: str) -> str | None:
    """The only bold words of the last line that has some; None where there are several.

    Headings, which a colon ends, are left out.
    """
    text = text[-READ_CHARACTERS:]
    bold = [match for match in _BOLD.finditer(text) if not match[2].rstrip().endswith(":")]
    if not bold:
        return None
    line = text.rfind("\n", 0, bold[-1].start())
    alone = len(bold) == 1 or bold[-2].start() <= line
    return bold[-1][2] if alone else None


def without_thinking(completion: str, marker: str) -> str:
    """The text behind the thoughts of a reasoning model; all of it where nothing follows them."""
    _, thought, rest = completion.rpartition(_THOUGHT)
    return rest if thought and rest.strip() and _THOUGHT not in marker.lower() else completion


def has_marker(text: str, marker: str) -> bool:
    """True when `final_answer` finds the marker in a text."""
    within = marker.lower()
    return within in text.lower() or within in strip_markdown(normalize(text)).lower()


def last_boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{...}``, which may hold braces itself; None without one.

    Of boxes side by side, as in "\\boxed{5} or \\boxed{6}", that of all of them.
    """
    if (last := _last_box(text, len(text))) is None:
        return None
    begin, said = last[0], text[last[2] : last[1]].strip()
    while before := _last_box(text, begin):
        gap = text[before[1] + 1 : begin]
        if before[1] >= begin or not phrases.are_joined(gap, alone=True):
            break
        begin, other = before[0], text[before[2] : before[1]].strip()
        if other != said:
            said = f"{other}{' or ' if phrases.offers_alternative(gap) else ', '}{said}"
    return said


def _last_box(text: str, until: int) -> tuple[int, int, int] | None:
    """Positions of the last box before ``until``, of its closing brace, and of its content."""
    begin, box = max((text.rfind(box + "{", 0, until), box) for box in _BOXES)
    if begin < 0:
        return None
    start, depth = begin + len(box), 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0) if text[index - 1] != "\\" else 0
        if depth == 0:
            return begin, index, start + 1
    return begin, len(text), start + 1


def after_label(text: str) -> str | None:
    """The text behind the last label, such as "the answer is", on its line; None without one."""
    found = [match.span() for match in phrases.ANSWER_LABEL.finditer(text)]
    while found:
        line = text[found[-1][1] :].strip().split("\n")[0].strip()
        if rest := _CLOSING_TAG.sub("", line).strip():
            return _offered_before(text, [(_sentence_of(text, found[0][0]),) * 2, *found]) + rest
        found.pop()
    return None


def _offered_before(text: str, labels: Sequence[tuple[int, int]]) -> str:
    """The text before the last label where "or" joins it to an earlier one; else nothing."""
    first = len(labels) - 1
    while first and phrases.ends_with_alternative(text[labels[first - 1][1] : labels[first][0]]):
        first -= 1
    return text[labels[first][1] : labels[-1][1]] + " " if first < len(labels) - 1 else ""


def _sentence_of(text: str, position: int) -> int:
    """The beginning of the sentence or line that a position stands in."""
    begin = max(0, position - 200)
    ends = [match.end() for match in _SENTENCE_END.finditer(text, begin, position)]
    return max(text.rfind("\n", begin, position) + 1, begin, *ends)


def first_sentence(text: str) -> str:
    """The text up to the first mark that ends a sentence."""
    end = _SENTENCE_END.search(text)
    return text[: end.start()] if end else text


def extract_answer(completion: str, marker: str) -> tuple[str, bool]:
    """The part of a completion that states the answer, tidied, and whether it is marked as that.

    In this order: the last line with the marker, in it or else in all of the text the last
    ``\\boxed``, what follows the last label. Without any of them, all of the text.
    """
    completion = without_thinking(completion, marker)
    marked = bool(marker) and has_marker(completion[-READ_CHARACTERS:], marker)
    raw = final_answer(completion, marker)
    text = strip_markdown(normalize(raw)).strip()
    box = last_boxed(text)
    if box is not None:
        return _without_text_commands(box), True
    label = after_label(text if marked else normalize(raw))
    if label is not None:
        return _without_text_commands(strip_markdown(label)), True
    return _without_text_commands(text), marked


def _without_text_commands(text: str) -> str:
    return _TEXT_COMMAND.sub(r" \1 ", text).strip()


def canonical(text: str) -> str:
    """One form for comparison: letters in one case, single spaces, no quotes or full stop."""
    text = strip_markdown(normalize(text))
    text = re.sub(r"\s+", " ", text).strip()
    without = text.strip("\"'").strip().rstrip(".").strip().strip("\"'").strip()
    return (without or text).casefold()  # an answer may be punctuation and nothing else


def canonical_bare(text: str) -> str:
    """As `canonical`, also without outer brackets, final punctuation, LaTeX and end tokens."""
    text = _END_TOKEN.sub("", text)
    text = re.sub(r"^[-*+·]\s+(?=[^\W\d])", "", canonical(_TEXT_COMMAND.sub(r"\1", text)))
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing):
            text = text[2:-2].strip()
    before = None
    while text != before:
        before = text
        text = text.rstrip("!?,;:.").strip()
        if len(text) > 2 and _BRACKETS.get(text[0]) == text[-1]:
            text = text[1:-1].strip()
    return text


def is_unspaced(character: str) -> bool:
    """True when it is of a script that has no spaces between words."""
    return any(low <= ord(character) <= high for low, high in _UNSPACED)
