"""Numbers as people and models write them, read exactly.

``1,234.5``, ``1.234,5``, ``1 234``, ``3,5``, ``1e-5``, ``6.02 \\times 10^{23}``, ``1 1/2``,
``\\dfrac{1}{2}``, ``50%``, ``$18``, ``x = 3``, ``5 km``. Times, dates and versions are not
numbers.
The sizes of all parts are bounded, so that reading takes no time to speak of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from trials.matching.text import UNSPACED

MAX_DIGITS = 1_000
MAX_EXPONENT = 400
# What is written with so many places may be a rounded value: 0.333333 is 1/3.
ROUNDED_PLACES = 6
FLOAT_DIGITS = 15  # that a floating-point number is sure of

_SIMPLE = r"\s*(-?\d+(?:[.,]\d+)?)\s*"
_LATEX = (
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\\left|\\right|\\displaystyle|\\bigl?|\\bigr"), ""),
    (re.compile(r"\\[,!;:> ]|\\q?quad\b|~"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s*(?:\\circ\b|\{\s*\\circ\s*\})|\\degree\b"), "°"),
    (re.compile(r"\\[(\[\])]|(?<!\\)\$"), " "),
    (re.compile(r"\\([%$#&_{}])"), r" \1"),
    (re.compile(rf"\\frac\s*\{{{_SIMPLE}\}}\s*\{{{_SIMPLE}\}}"), r" \1/\2 "),
    (re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r" \1/\2 "),
    (re.compile(rf"\\frac\s*(\d)\s*\{{{_SIMPLE}\}}"), r" \1/\2 "),
    (re.compile(r"\\times\b|\\cdot\b|\\ast\b"), "×"),
    (re.compile(r"\\div\b"), "/"),
    (
        re.compile(r"\\approx\b|\\simeq\b|\\equiv\b|\\implies\b|\\Rightarrow\b|\\to\b|≈|≃|≡|→|⇒"),
        "=",
    ),
    (re.compile(r"÷"), "/"),
    (re.compile(r"(?<=\s)!="), "≠"),
    (re.compile(r"\\pm\b|\\mp\b|∓"), "±"),
    (re.compile(r"([-+])\s?\(\s*(\d+(?:\.\d+)?(?:\s?/\s?\d+)?)\s*\)"), r"\1\2"),
    (re.compile(r"</?[A-Za-z][\w-]{0,40}>"), " "),
    # The power of a unit is not one of the number.
    (re.compile(r"(\d\s*(?:[mck]?m|ft|in|yd|mi|s))\s*\^\s*\{?-?[1-4]\}?(?![\w^])"), r"\1"),
    (re.compile(r"\b(?:minus|negative)\s+(?=[\d.])", re.IGNORECASE), "-"),
)
_BESIDE_LETTERS = re.compile(rf"(?<=[{UNSPACED}])(?<!第)(?=\d)")  # 第3题 is a name
_DOLLAR = re.compile(r"(?<!\\)\$")
_RUN = re.compile(
    r"(?<![\w.])(?:[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?(?![\d/])|\d[\d.,'_]*\d|\d|\.\d+)"
)
_EXPONENT = re.compile(
    r"(?:[eE]([+-]?\d+)(?!\w)"
    r"|\s*[×*·xX]\s*10\s*(?:\^|\*\*)\s*[{(]?\s*([+-]?\s?\d+)\s*[})]?)"
)
_OVER = re.compile(r"\s?/\s?(-?)(\d+(?:[.,]\d+)?)(?![\d/])")
_PARTS = re.compile(r"(?: {1,3}|-)(\d{1,9})\s?/\s?(\d{1,9})(?![\d/.,])")
_POWER = re.compile(r"\s*(?:\^|\*\*)")
_PERCENT = re.compile(r"\s*(?:%|percent\b|per cent\b|pct\b|percentage\b)", re.IGNORECASE)
_SCALE = re.compile(
    r"\s?(?:((?i:thousand|million|billion|trillion|lakh|crore))\b|([万亿億]))|([kKM]|bn)\b"
)
_SCALES = {
    **{"thousand": 3, "million": 6, "billion": 9, "trillion": 12, "lakh": 5, "crore": 7},
    **{"万": 4, "亿": 8, "億": 8, "k": 3, "m": 6, "bn": 9},
}
_UNIT = re.compile(r"\s*(°?[^\W\d_]+)")
_UNITS = {
    **{name: name for name in ("km", "m", "cm", "mm", "kg", "g", "mg", "l", "ml", "s", "ms", "h")},
    **{"mi": "mile", "ft": "foot", "feet": "foot", "in": "inch", "lb": "pound", "oz": "ounce"},
    **{"meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "centimeter": "cm"},
    **{"gram": "g", "kilogram": "kg", "liter": "l", "litre": "l", "hr": "h", "min": "minute"},
    **{"second": "s", "sec": "s", "minute": "minute", "hour": "h", "day": "day", "week": "week"},
    **{"month": "month", "year": "year", "mile": "mile", "foot": "foot", "inch": "inch"},
    **{"usd": "$", "dollar": "$", "euro": "€", "eur": "€", "gbp": "£", "cent": "cent"},
    **{"$": "$", "€": "€", "£": "£", "¥": "¥", "₹": "₹"},
}


@dataclass(frozen=True)
class Number:
    """A number that stands in a text.

    Attributes:
        value: exactly, a percentage as a part of one.
        places: digits behind the decimal point of the value as written; None for fractions.
        unit: or currency, where it is a common one.
        scale: 1,000,000 where it was written as so many millions, else 1.
        exact: what it was said to be about, where it is that, rounded: the 2/3 of "2/3 = 0.67".
    """

    value: Fraction
    places: int | None = 0
    percent: bool = False
    unit: str | None = None
    scale: int = 1
    exact: Fraction | None = None

    def __str__(self) -> str:
        return str(self.value)


class NumberMatch(NamedTuple):
    """A number and its position in the text."""

    start: int
    end: int
    number: Number


class UnreadableNumber(ValueError):
    """Digits that are not a number, or more than are read: 12:00, 1.2.3, 2024-01-02."""


def numbers_equal(one: Number, other: Number) -> bool:
    """True when two numbers are the same, in the readings that people give to them.

    50% is 0.5, and 50 too where the other is not a percentage; 0.333333 is 1/3. 2 million is
    2,000,000, and 2 too where millions are asked for.
    """
    orders = ((one, other), (other, one))
    if any(a.exact is not None and a.exact == b.value for a, b in orders):
        return True
    if one.unit and other.unit and one.unit != other.unit:
        return False
    if one.value == other.value or any(_rounded(a, b) or _is_noise(a, b) for a, b in orders):
        return True
    if one.scale != other.scale and 1 in (one.scale, other.scale):
        return one.value * other.scale == other.value * one.scale
    if one.percent == other.percent:
        return False
    share, bare = (one, other) if one.percent else (other, one)
    return share.value * 100 == bare.value > 1


def _rounded(written: Number, exact: Number) -> bool:
    """True when one is the other, rounded to the places that it is written with."""
    if written.places is None or written.places < ROUNDED_PLACES:
        return False
    if abs(written.value) * 10**written.places < 1_000:  # four digits at least
        return False
    return round(exact.value, written.places) == written.value


def is_rounded(written: Number, exact: Number) -> bool:
    """True when one is what the other is about: 0.67, 0.66 and 66.7% for 2/3."""
    if not written.places or written.value == 0:
        return False
    return abs(written.value - exact.value) * 10**written.places < 1


def _is_noise(written: Number, exact: Number) -> bool:
    """True for a floating-point number with all digits of the other: 0.1 + 0.2 is 0.3."""
    if not written.places or abs(written.value) * 10**written.places < 10 ** (FLOAT_DIGITS - 1):
        return False
    return abs(written.value - exact.value) * 10 ** (FLOAT_DIGITS - 1) <= abs(exact.value)


def strip_latex(text: str) -> str:
    """A normalised text without what LaTeX and Markdown put around numbers."""
    if len(_DOLLAR.findall(text)) % 2:  # not a pair around a formula
        text = re.sub(r"(?<!\\)\$(?=\s?-?[\d.])", r"\\$", text, count=1)
    text = _BESIDE_LETTERS.sub(" ", text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def find_numbers(text: str) -> list[NumberMatch]:
    """All numbers of a text that `strip_latex` gave, in their order.

    Raises:
        UnreadableNumber: for digits that are not a number.
    """
    found: list[NumberMatch] = []
    position = 0
    while match := _RUN.search(text, position):
        found += _numbers_of(text, match)
        position = max(match.end(), found[-1].end)
    return found


def _numbers_of(text: str, match: re.Match[str]) -> list[NumberMatch]:
    start, end, run = match.start(), match.end(), match[0]
    if re.match(r":\d|-\d{1,2}-\d", text[end : end + 5]) or re.search(
        r"\d[:/]$", text[max(0, start - 2) : start]
    ):
        raise UnreadableNumber(run)
    pair = re.search(r"[(\[{]\s?$", text[max(0, start - 2) : start]) and "," in run
    members = run.split(",") if pair and not _is_grouped(run) else _members(run)
    values = [_decimal(member) for member in members]
    if len(values) > 1:  # "1,2,3": a list
        return [NumberMatch(start, end, Number(value, places)) for value, places in values]
    value, places = values[0]
    shift = _EXPONENT.match(text, end)
    written: int | None = places
    if shift:
        exponent = (shift[1] or shift[2]).replace(" ", "")
        if len(exponent) > 5 or abs(power := int(exponent)) > MAX_EXPONENT:
            raise UnreadableNumber(shift[0])
        value, written, end = value * Fraction(10) ** power, max(0, places - power), shift.end()
    parts = _PARTS.match(text, end) if not shift and "." not in run and "," not in run else None
    if parts and int(parts[2]):
        value, written, end = value + Fraction(int(parts[1]), int(parts[2])), None, parts.end()
    elif over := _OVER.match(text, end):
        below, _ = _decimal(over[2])
        if not below:
            raise UnreadableNumber(over[0])
        value, written, end = value / (-below if over[1] else below), None, over.end()
    if _POWER.match(text, end):
        raise UnreadableNumber(run)
    if re.search(r"±\s?$", text[max(0, start - 2) : start]):
        return [NumberMatch(start, end, Number(signed, written)) for signed in (value, -value)]
    start, sign = _sign_before(text, start)
    return [_with_unit(text, start, end, value * sign, written)]


def _sign_before(text: str, start: int) -> tuple[int, int]:
    """The beginning with the sign, and the sign; between two numbers it is an operation."""
    before = re.search(r"([-+])\s?[$€£¥₹]?\s?$", text[max(0, start - 4) : start])
    if not before:
        return start, 1
    begin = start - len(before[0])
    operand = re.search(r"(?:[\d)%]|(?<![^\W_])[b-z])\s?$", text[max(0, begin - 3) : begin])
    return (start, 1) if operand else (begin, -1 if before[1] == "-" else 1)


def _with_unit(text: str, start: int, end: int, value: Fraction, places: int | None) -> NumberMatch:
    percent = _PERCENT.match(text, end)
    if percent:
        finer = None if places is None else places + 2
        return NumberMatch(start, percent.end(), Number(value / 100, finer, True))
    scale = 1
    if named := _SCALE.match(text, end):
        power = _SCALES[(named[1] or named[2] or named[3]).lower()]
        scale, end, places = 10**power, named.end(), max(0, (places or 0) - power)
    before = re.search(r"([$€£¥₹]|usd|eur|gbp)\s*-?$", text[max(0, start - 8) : start].lower())
    after = _UNIT.match(text, end) or re.match(r"\s*([€£¥₹$])", text[end : end + 4])
    unit = before[1] if before else after[1].lower() if after else ""
    known = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
    return NumberMatch(start, end, Number(value * scale, places, unit=known, scale=scale))


def _members(run: str) -> list[str]:
    """The run as one number, or as the numbers of a list without spaces."""
    if _is_grouped(run) or run.count(",") + run.count(".") < 2:
        return [run]
    if re.fullmatch(r"\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)+", run):
        return run.split(",")
    raise UnreadableNumber(run)


_CONTINENTAL = (
    re.compile(r"[1-9]\d{0,2}(?:(?:\.\d{3})+|(?: \d{3})+|(?:'\d{3})+),\d+"),
    re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}"),
)
_GROUPED = (
    *_CONTINENTAL,
    re.compile(r"[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)(?:\.\d+)?"),
    re.compile(r"[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?"),  # lakh and crore
)


def _is_grouped(run: str) -> bool:
    return any(pattern.fullmatch(run) for pattern in _GROUPED)


def _decimal(run: str) -> tuple[Fraction, int]:
    """Value and places of an unsigned number; a comma is decimal unless three digits follow it."""
    if len(run) > MAX_DIGITS:
        raise UnreadableNumber(run)
    if any(pattern.fullmatch(run) for pattern in _CONTINENTAL):
        run = run.translate(str.maketrans(",", ".", ". '"))
    elif _is_grouped(run):
        run = run.translate(str.maketrans("", "", ", '_"))
    whole, _, part = run.replace(",", ".").partition(".")
    if not (whole + part).isascii() or not (whole + part).isdigit():
        raise UnreadableNumber(run)
    return Fraction(int(whole + part), 10 ** len(part)), len(part)
