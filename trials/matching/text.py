"""Where the answer stands in a text, and one form for what people read as the same.

Models write answers in bold, in quotes, in ``\\boxed``, behind labels, with digits, dashes and
spaces of every kind. What is undone here has no meaning of its own; numbers and choices are read
elsewhere.
Every step takes time linear in the text, or in a window of it, so none can be made to run on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from trials.matching import hedges
from trials.matching.hedges import WINDOW

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

# "the final answer is", "Result:", and the same in the languages that datasets are written in most.
_LABEL = re.compile(
    r"""(?<!\w)(?:(?:final|correct|right|best)\s+){0,3}
        (?:answer|choice|option|label|result|solution|verdict)s?
        (?:\s+(?:to|for|of)\s[^.:\n]{0,60}?)?
        \s*(?:(?:is|are|was|will\s+be|would\s+be|should\s+be|must\s+be|equals)\b\s*:?|[:=])
      | (?:答案|正解|答え|정답)(?:应该)?\s*(?:就?是|为|為|は|은|는|:)\s*:?
      | (?<!\w)(?:antwort|ergebnis|lösung)\s*(?:ist|lautet|:)\s*:?
      | (?<!\w)(?:respuesta|resultado|solución|resposta|solução)\s*(?:correcta\s*)?(?:es|é|:)\s*:?
      | (?<!\w)(?:réponse|résultat|risposta|risultato)\s*(?:correcte\s*)?(?:est|è|:)\s*:?
      | (?<!\w)(?:ответ|відповідь|cevap)\s*[:-]
      | (?:الجواب|الإجابة|الاجابة)\s*(?:الصحيحة\s*)?(?:هي|هو|:)\s*:?
      | उत्तर\s*(?:है|:)
      | คำตอบ\s*(?:คือ|:)
      | <(?:final_?)?answer>
      # A line of its own, such as "### Final answer", above the answer.
      | ^[^\w\n]*(?:(?:the|my|final|correct)\s+){0,3}(?:answer|result|conclusion)[^\w\n]*\n
      # "#### 42", but no heading: "## Step 2", "### 1. Add".
      | ^[ \t]*\#{2,6}(?!\#)(?=[ \t]*[^\w\n]*(?:\d|[^\W\d_](?!\w)))(?![ \t]*\d+[.)][ \t]+\w)
      | ^[ \t]*\#{4}(?=[ \t]*[^\s\#])(?![ \t]*\d+[.)][ \t]+\w)(?![ \t]*[^\w\n]*(?:the|my|final
          |answer|solution|step|result|conclusion|explanation|reasoning|problem|question|part)\b)
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_BRACKETS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "$": "$"}


def normalize(text: str) -> str:
    """The text in one Unicode form, with plain digits, dashes, quotes and spaces.

    Compatible and decomposed characters are composed (NFKC), but ``10²`` becomes ``10^2`` and
    ``2½`` becomes ``2 1/2``. Marks that are not seen, such as those of the writing direction, go.
    """
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda m: "^" + m[0].translate(_PLAIN_SUPERSCRIPT), text)
    text = _BROKEN_OFF.sub(" - ", text)
    text = _VULGAR.sub(_spelt_out, text).translate(_SAME)
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    return "".join(_digit(c) for c in text if c.isascii() or unicodedata.category(c) != "Cf")


def _spelt_out(match: re.Match[str]) -> str:
    before = match.string[: match.start()][-1:]
    return " " * before.isdigit() + unicodedata.normalize("NFKC", match[0]).replace("⁄", "/")


def _digit(character: str) -> str:
    return str(unicodedata.decimal(character, character))


def strip_markdown(text: str) -> str:
    """The text without Markdown's emphasis, code spans, headings and what it strikes out."""
    text = _STRUCK.sub(" ", _FENCE.sub("", text))
    for _ in range(3):  # bold within italics within code
        text, found = _EMPHASIS.subn(r"\2", text)
        if not found:
            break
    return _HEADING.sub("", text)


def final_answer(completion: str, marker: str, lines: int = 1) -> str:
    """What follows the last marker, up to the end of its line; the whole text without a marker.

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
    """What follows a marker, without the end of emphasis that began before it: "**Answer:** 4"."""
    behind = text[end:]
    opened = _OPENED.search(text[max(0, begin - WINDOW) : begin])
    if not opened:
        return behind
    mark = re.escape(opened[1])
    closes = re.match(rf"\s*{mark}(?=\s|$)|[^*_\n]*[^\s*_]{mark}(?=[ \t]*(?:\n|$))", behind)
    return closes[0].replace(opened[1], "", 1) + behind[closes.end() :] if closes else behind


def only_bold(text: str) -> str | None:
    """What alone is bold in the last line that has bold words; None where it is no one thing.

    Headings, which a colon ends, are left out.
    """
    spans = [(m.start(), m[2]) for m in _BOLD.finditer(text[-READ_CHARACTERS:])]
    said = [(at, words) for at, words in spans if not words.rstrip().endswith(":")]
    if not said:
        return None
    line = text[-READ_CHARACTERS:].rfind("\n", 0, said[-1][0])
    return said[-1][1] if len([at for at, _ in said if at > line]) == 1 else None


def without_thinking(completion: str, marker: str) -> str:
    """What follows the thoughts of a reasoning model; all of a text where nothing does."""
    _, thought, rest = completion.rpartition(_THOUGHT)
    return rest if thought and rest.strip() and _THOUGHT not in marker.lower() else completion


def has_marker(text: str, marker: str) -> bool:
    """Whether `final_answer` finds the marker in a text."""
    within = marker.lower()
    return within in text.lower() or within in strip_markdown(normalize(text)).lower()


def last_boxed(text: str) -> str | None:
    """What is in the last ``\\boxed{...}``, which may hold braces itself; None without one.

    Of boxes side by side, as in "\\boxed{5} or \\boxed{6}", what is in all of them.
    """
    if (last := _last_box(text, len(text))) is None:
        return None
    begin, said = last[0], _within(text, last)
    while before := _last_box(text, begin):
        gap = text[before[1] + 1 : begin]
        if before[1] >= begin or not hedges.are_joined(gap, alone=True):
            break
        begin, other = before[0], _within(text, before)
        if other != said:
            said = f"{other}{' or ' if hedges.offers_alternative(gap) else ', '}{said}"
    return said


def _last_box(text: str, until: int) -> tuple[int, int, int] | None:
    """Where the last box before ``until`` begins, its closing brace is, and its content begins."""
    begin, box = max((text.rfind(box + "{", 0, until), box) for box in _BOXES)
    if begin < 0:
        return None
    start, depth = begin + len(box), 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0) if text[index - 1] != "\\" else 0
        if depth == 0:
            return begin, index, start + 1
    return begin, len(text), start + 1


def _within(text: str, box: tuple[int, int, int]) -> str:
    return text[box[2] : box[1]].strip()


def after_label(text: str) -> str | None:
    """What follows the last label, such as "the answer is", on its line; None without a label."""
    found = [match.span() for match in _LABEL.finditer(text)]
    while found:
        line = text[found[-1][1] :].strip().split("\n")[0].strip()
        if rest := _CLOSING_TAG.sub("", line).strip():
            return _offered_before(text, [(_sentence_of(text, found[0][0]),) * 2, *found]) + rest
        found.pop()
    return None


def _offered_before(text: str, labels: Sequence[tuple[int, int]]) -> str:
    """What stands before the last label where "or" joins it to an earlier one; else nothing.

    Args:
        text: with the labels.
        labels: where each begins and ends.
    """
    first = len(labels) - 1
    while first and hedges.ends_with_alternative(text[labels[first - 1][1] : labels[first][0]]):
        first -= 1
    return text[labels[first][1] : labels[-1][1]] + " " if first < len(labels) - 1 else ""


def _sentence_of(text: str, position: int) -> int:
    """Where the sentence or line that a position stands in begins."""
    begin = max(0, position - 200)
    ends = [match.end() for match in _SENTENCE_END.finditer(text, begin, position)]
    return max(text.rfind("\n", begin, position) + 1, begin, *ends)


def first_sentence(text: str) -> str:
    """Up to the first full stop, exclamation or question mark that ends a sentence."""
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
    """One form for exact comparison: letters in one case, single spaces, no quotes or full stop."""
    text = strip_markdown(normalize(text))
    text = re.sub(r"\s+", " ", text).strip()
    without = text.strip("\"'").strip().rstrip(".").strip().strip("\"'").strip()
    return (without or text).casefold()  # an answer may be punctuation and nothing else


def canonical_bare(text: str) -> str:
    """As `canonical`, also without brackets around it, punctuation at its end, or LaTeX's wrapping.

    Tokens that end a turn are left out, too.
    """
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
    """Whether it is of a script that has no spaces between words."""
    return any(low <= ord(character) <= high for low, high in _UNSPACED)
