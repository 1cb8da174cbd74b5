"""The reward ``numeric``: the same number, or the same as mathematics."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from trials.matching import phrases
from trials.matching.maths import MAX_EXPRESSION_CHARACTERS, expressions_equal, is_parsable
from trials.matching.numbers import (
    Number,
    NumberMatch,
    UnreadableNumber,
    find_numbers,
    is_rounded,
    numbers_equal,
    strip_latex,
)
from trials.matching.text import (
    UNSPACED,
    canonical,
    canonical_bare,
    extract_answer,
    first_sentence,
    last_boxed,
    normalize,
    only_bold,
    strip_markdown,
    without_thinking,
)

# Of a text that states the answer its beginning is read, of any other its end.
MAX_READ_CHARACTERS = 4_000
# Between two numbers: nothing but this, and they are joined by an operation, not listed.
_OPERATION = re.compile(r"[\s()\[\]{}]*[-+*/^×·!][-+*/^×·!\s()\[\]{}]*")
_FORMULA = re.compile(
    r"\\[a-zA-Z]+|[π√∞∑∏∫]|(?<=[\w)}])\s*(?:\^|\*\*)|(?<=[\w)}])\s*(?:[<>]=?|[≤≥≠])\s*(?=[-\w(\\]|$)"
    r"|(?<![^\W\d_])(?:(?:sqrt|cbrt|log|ln|sin|cos|tan|exp)\s?(?:[({_]|$)|pi(?![^\W_]))"
)
# A variable beside a number, and not a unit: "3x", "3 + x", "x - 3".
_VARIABLE_BEHIND = re.compile(
    r"\s?[*·×]?\s?[ainqrvwxyz](?=\s*(?:[-+*/^=<>)}×·$]|$))|\s*[-+*/^·×]\s*[a-zA-Z](?![^\W_])"
)
_VARIABLE_BEFORE = re.compile(r"(?<![^\W_])[b-z]\s*[-+*/^·×]\s*$")
# ">17", "≠ 6"; "> 17" at the beginning is a quotation.
_COMPARED = re.compile(r"(?:^|[^\s\d)}<>=-])\s*(?:[<>]=?|[≤≥≠])\s?$")
_COMPARISON = re.compile(r"\s*(?:[<>≤≥≠]|\\(?:leq?|geq?|neq?|lt|gt)\b)")
_QUOTATION = re.compile(r"\s*>\s")
# "x = 3, y = 4": more than one number.
_ASSIGNMENTS = re.compile(
    r"(?<![\w)])([A-Za-z])\s*=[^=,;\n]{1,40}(?:[,;]|(?<!\w)(?:and|or)(?!\w))\s*(?!\1)[A-Za-z]\s*=[^=]*$"
)
_PLAIN_FUNCTION = re.compile(r"(?<![^\W\d_\\])\\?(log|ln|sin|cos|tan|exp|pi)(?![^\W\d_])")
_PLAIN_ROOT = re.compile(r"(?<![^\W\d_\\])sqrt\s?(?:\(([^()]*)\)|(\d+))|√\s?(?:\(([^()]*)\)|(\d+))")
_SYMBOLS = str.maketrans({"∞": r"\infty ", "π": r"\pi "})
_FACTORIAL = re.compile(
    r"(?:\$[^$\n]{0,80}?|\\\([^$\n]{0,80}?)(?:[\d)]|(?<![^\W_])[a-z])\s*!(?:[^$\n]{0,80}\$|[^$\n]{0,80}\\\))"
)
# Words, which math-verify would take for products of letters, have none of these.
_MATHEMATICAL = re.compile(r"[\d\\+^=*√π]|^\s*\$?[A-Za-z]\$?\s*$")
_REMARK = re.compile(
    rf"(?:(?<=[{UNSPACED}])|(?<=[\w.%!])\s{{1,3}})\((?=[^()]*(?:[^\W\d_]{{3}}|[{UNSPACED}]))"
    r"([^()]{1,200})\)"
)
_LISTED = re.compile(r"[\s\d.,;:!?|&$()-]*")  # numbers side by side, and nothing else
_BARE = re.compile(r"[\s$*_#(-]{0,9}\d[\d.,]{0,99}[\s$*_.!?)]{0,9}")
# "5", an empty line, and more about it.
_EXPLAINED = re.compile(rf"{_BARE.pattern}(?=\n\s*\n\W*[^\W\d_]{{2}})")
_DIGIT = re.compile(r"\.?\d")
_READING = tuple[Number, ...] | str  # the different numbers of a text, or the text as a formula


@dataclass(frozen=True)
class Numeric:
    """Right when the final answer is the same number, however it is written, or the same formula.

    Two different numbers that are stated side by side are not an answer.
    """

    marker: str

    def read(self, completion: str) -> str:
        """The number or formula that is taken as the answer."""
        said, marked = _read(completion, self.marker)
        found = _values(said, marked)
        if isinstance(found, str):
            return found
        return " and ".join(dict.fromkeys(map(str, found))) or "no number"

    def score(self, completion: str, answers: tuple[str, ...]) -> float:
        said, marked = _read(completion, self.marker)
        form = canonical_bare(said)
        return float(any(_right(said, marked, form, answer) for answer in answers))


def is_readable_answer(answer: str) -> bool:
    """True when an answer is a number or formula, which a completion could be equal to."""
    if parse_number(answer) is not None:
        return True
    return bool(_MATHEMATICAL.search(answer)) and is_parsable(_formula(answer))


@lru_cache(maxsize=65_536)
def parse_number(answer: str) -> Number | None:
    """An answer that is one number; None for anything else, such as formulas and lists."""
    found = _stated_in(extract_answer(answer, "")[0][:MAX_READ_CHARACTERS], leading=False)
    return found[0] if not isinstance(found, str) and len(found) == 1 else None


def _read(completion: str, marker: str) -> tuple[str, bool]:
    """As `extract_answer`; a box with "5!" is a formula, for it holds no exclamations.

    Of several numbers in a text, the only bold one is the answer.
    """
    said, marked = extract_answer(completion, marker)
    if not marked and not isinstance(found := _values(said, marked), str) and len(found) > 1:
        bold = only_bold(normalize(without_thinking(completion, marker)))
        last_line = said[-MAX_READ_CHARACTERS:].split("\n")[-1]
        if bold and parse_number(bold) and not phrases.HEDGE.search(last_line):
            return bold, True
    in_box = "!" in said and said == last_boxed(normalize(completion))
    return f"${said}$" if in_box else said, marked


def _right(said: str, marked: bool, form: str, answer: str) -> bool:
    same_form = bool(form) and form == canonical_bare(canonical(answer))
    factorial = "!" in answer or _FACTORIAL.search(said)  # n! is not n
    if same_form and (not factorial or canonical(said) == canonical(answer)):
        return True
    right, found = parse_number(answer), _values(said, marked)
    if isinstance(found, str):
        # math-verify reads one side of these and leaves out the rest.
        one_of_two, compares = phrases.EITHER_FORMULA.search, _COMPARISON.match
        if any(says(found) and not says(answer) for says in (one_of_two, compares)):
            return False
        return expressions_equal(str(right) if right else _formula(answer), _formula(found))
    if right is None:
        return bool(found) and expressions_equal(
            _formula(answer), _formula(said)[-MAX_EXPRESSION_CHARACTERS:]
        )
    return len(found) == 1 and numbers_equal(found[0], right)


def _formula(text: str) -> str:
    """A formula as math-verify takes it: exponents in braces, functions as LaTeX has them."""
    text = re.sub(r"(?:\^|\*\*)\s*(-?\d+)", r"^{\1}", strip_markdown(normalize(text)).strip())
    text = _PLAIN_ROOT.sub(lambda m: rf"\sqrt{{{next(filter(None, m.groups()), '')}}}", text)
    return _PLAIN_FUNCTION.sub(r"\\\1 ", text.translate(_SYMBOLS))


def _values(said: str, marked: bool) -> _READING:
    """The different numbers that a text states, or the text that is a formula."""
    said = said[:MAX_READ_CHARACTERS] if marked else _without_check(said[-MAX_READ_CHARACTERS:])
    lines = [line for line in said.split("\n") if line.strip()]
    text = said
    if not marked and not all(map(_BARE.fullmatch, lines)):
        # What is said after it, such as "I hope this helps!", is not an answer.
        text = ([line for line in lines if _MATHEMATICAL.search(line)] or lines or [""])[-1]
        if phrases.ends_with_alternative(re.split(r"\d", text, maxsplit=1)[0]):
            text = said  # "5", and on a line of its own "or 6"
    found = _stated_in(text, marked)
    if isinstance(found, str):
        clause = phrases.CLAUSE.search(text)
        head = text[: clause.start()] if clause else ""
        return _stated_in(head, marked) if _BARE.fullmatch(head) else found
    if len(found) <= 1 or _LISTED.fullmatch(text):
        return found
    # What is shown first may be the answer, with more said about it in further sentences.
    narrower = _first(text) if marked else _concluded(text)
    return narrower if len(narrower) == 1 or isinstance(narrower, str) else found


def _without_check(text: str) -> str:
    """The text without what only checks or explains the answer that stands before it."""
    end = match.end() if (match := _EXPLAINED.match(text) or phrases.CHECK.search(text)) else 0
    answered = _DIGIT.search(text, 0, end) and not phrases.CONTINUES.search(text, end)
    return text[:end] if answered else text


def _first(text: str) -> _READING:
    """The numbers of the first sentence, unless the text behind offers another or takes it back."""
    sentence = first_sentence(text)
    rest = text[len(sentence) :]
    number = _DIGIT.search(rest)
    behind = re.split(r"\d", sentence)[-1]
    gap = behind + rest[: number.start()] if number else ""
    several = phrases.offers_alternative(gap) or phrases.is_retracted(gap)
    if number and (several or phrases.TWO_COUNTS.fullmatch(text)):
        return ()
    found = _stated_in(sentence, True)
    cue = phrases.RESULT.search(sentence)
    if isinstance(found, str) or len(found) <= 1 or not cue:
        return found
    if _DIGIT.search(sentence[: cue.start()]):
        return found
    return _stated_in(sentence[cue.end() :], True)  # "There are 16 balls in the 4 boxes."


def _concluded(text: str) -> _READING:
    """The numbers of the last sentence that has some, behind its last "is", "so" or the like."""
    sentences = [each for each in re.split(r"[.!?](?:\s+|$)", text) if re.search(r"\d", each)]
    if not sentences:
        return _stated_in(text, True)
    last = sentences[-1]
    for begin in (*[cue.end() for cue in phrases.RESULT.finditer(last)][::-1], 0):
        if number := _DIGIT.search(last, begin):
            offered = phrases.ends_with_alternative(last[: number.start()])
            return () if offered else _stated_in(last[begin:], True)
    return ()


def _stated_in(text: str, leading: bool) -> _READING:
    """The numbers of one line; ``leading``: the first alone, if what follows only explains it."""
    if _FACTORIAL.search(text):  # elsewhere it is an exclamation mark
        return text
    text = phrases.SPOKEN_EQUALS.sub(r"\1 = ", text)
    cleaned = strip_latex(text)
    try:
        found = _rounded(cleaned, find_numbers(cleaned))
    except UnreadableNumber:
        return text if _FORMULA.search(cleaned) else ()
    denied = phrases.DENIED_NUMBER.search
    found = [each for each in found if not denied(cleaned[max(0, each.start - 24) : each.start])]
    found = _without_wholes(cleaned, found)
    if leading and len(found) > 1 and phrases.LEADING.fullmatch(cleaned[: found[0].start]):
        gap = cleaned[found[0].end : found[1].start]
        joined = _FORMULA.match(gap.lstrip(" *·×"))  # "2\sqrt{3}"
        words = re.search(r"[^\W\d_]{2}", gap) and not phrases.TWO_COUNTS.fullmatch(cleaned)
        another = phrases.ANOTHER_NUMBER.search(gap) or phrases.HEDGE.search(gap)
        if words and not another and not joined:
            return (found[0].number,)
    equals = _last_side(cleaned)
    behind = [each for each in found if each.start > equals]
    found = behind or found
    if _is_formula(cleaned, equals + 1 if behind else 0, found):
        return cleaned[equals + 1 :].strip() if behind and equals >= 0 else text
    values = tuple({each.number.value: each.number for each in found}.values())
    if len(values) > 1 and (shorter := _REMARK.sub(_doubt, text)) != text:
        fewer = _stated_in(shorter, leading)
        return fewer if len(fewer) == 1 and not isinstance(fewer, str) else values
    return values


def _without_wholes(text: str, found: list[NumberMatch]) -> list[NumberMatch]:
    """The numbers without those that the one before is a part of: "42 left of the 50"."""
    kept = found[:1]
    for before, each in pairwise(found):
        gap = text[before.end : each.start]
        if not phrases.PART_OF.fullmatch(gap) or phrases.HEDGE.search(gap):
            kept.append(each)
    return kept


def _rounded(text: str, found: list[NumberMatch]) -> list[NumberMatch]:
    """The numbers; of "2/3, or about 66.7%" the last one, which is both."""
    merged: list[NumberMatch] = []
    for each in found:
        last = merged[-1] if merged else None
        about = last and phrases.APPROXIMATION.fullmatch(text, last.end, each.start)
        if last and about and is_rounded(each.number, last.number):
            exact = last.number.exact or last.number.value
            merged[-1] = each._replace(number=replace(each.number, exact=exact))
        else:
            merged.append(each)
    return merged


def _doubt(remark: re.Match[str]) -> str:
    """A remark in parentheses where it offers another answer, else a space."""
    kept = phrases.HEDGE.search(remark[1]) or _FORMULA.search(remark[1])
    return remark[0] if kept else " "


def _last_side(text: str) -> int:
    """Position of the "=" before the answer; -1 where that is all of the text."""
    if _ASSIGNMENTS.search(text):
        return -1
    equals = text.rfind("=")
    either = phrases.EITHER_EQUATION
    while equals > 0 and (match := either.search(text, max(0, equals - 90), equals + 1)):
        equals = match.start("at") if match["at"] else match.start()
    return equals


def _sign_before(text: str, at: int) -> int:
    """A position before the sign in front of ``at`` and one more character, white space aside."""
    sign = max(0, len(text[:at].rstrip()) - 2)
    return max(0, len(text[:sign].rstrip()) - 2)


def _is_formula(text: str, start: int, found: list[NumberMatch]) -> bool:
    """True when more than numbers and words follows ``start``: operations, roots, letters^2."""
    if not found:
        return bool(_FORMULA.search(text))
    gaps = [text[a.end : b.start] for a, b in pairwise(found)]
    if any(_OPERATION.fullmatch(gap) for gap in gaps):
        return True
    side = text[start:]  # "^" is its beginning, and all patterns before a number end with "$"
    for each in found:
        window = _sign_before(side, each.start - start), each.start - start
        if _VARIABLE_BEHIND.match(text, each.end) or _VARIABLE_BEFORE.search(side, *window):
            return True
        if _COMPARED.search(side, *window) and not _QUOTATION.fullmatch(side, 0, window[1]):
            return True
    outside = [text[start : found[0].start], *gaps, text[found[-1].end :]]
    return any(_FORMULA.search(part) for part in outside)
