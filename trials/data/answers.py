"""Right answers as rows hold them, made the texts that rewards compare with."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from trials.io.errors import RowLocation
from trials.io.problems import shown
from trials.matching.numeric import parse_number
from trials.matching.text import final_answer, last_boxed, normalize

MAX_ALTERNATIVES = 1_000
EXPECTED = (
    "a text or a finite number, or a list of these, any of which is right; write true and false as "
    "texts"
)
_WRITTEN_NUMBER = re.compile(
    r"[-+]?\s?\\?[$€£¥₹]?\s?[\d.,][\d.,' ]*(?:[eE][-+]?\d+)?(?:\s?/\s?\d+)?\s?\\?%?"
)

# Numbers as LaTeX writes them: fractions, roots, multiples of pi, and sums of these. What else a
# formula may be is left to the card, for a reward that cannot read an answer refuses the dataset.
_DECIMAL = r"\d{1,30}(?:\.\d{1,30})?"
_FACTOR = rf"(?:{_DECIMAL}\s?)?(?:\\sqrt\s?(?:\d|\{{{_DECIMAL}\}})|\\pi)|{_DECIMAL}"
_BELOW = rf"\{{\s?-?(?:{_FACTOR})\s?\}}"
_TERM = (
    rf"(?:(?:{_DECIMAL}\s?)?\\[dt]?frac\s?(?:\d\s?\d|{_BELOW}\s?{_BELOW})(?:\s?\\pi)?|{_FACTOR})"
)
_LATEX_NUMBER = re.compile(rf"[-+]?\s?{_TERM}(?:\s?[-+]\s?{_TERM}){{0,4}}")
_IN_DOLLARS = re.compile(r"\${1,2}([^$]*)\${1,2}|\\\((.*)\\\)")


def read_answers(value: Any, marker: str | None, location: RowLocation) -> tuple[str, ...]:
    """The different texts of a row's answer, none of them empty: one, or one for each alternative.

    Of an answer that has the marker only what follows it counts.

    Raises:
        DatasetError: for anything but texts, finite numbers, and lists of them.
    """
    values = value if isinstance(value, list | tuple) else [value]
    if not values or len(values) > MAX_ALTERNATIVES:
        raise location.error(f"the answer is a list of {len(values)}", EXPECTED)
    texts = [_text(each, location) for each in values]
    answers = [_unboxed(final_answer(text, marker)) if marker else text.strip() for text in texts]
    for whole, answer in zip(texts, answers, strict=True):
        if not answer:
            problem = f"nothing follows the marker {marker!r} in the answer {whole[-60:]!r}"
            problem = problem if whole.strip() else "the answer is empty"
            raise location.error(problem, "an answer in every row")
    return tuple(dict.fromkeys(answers))


def _unboxed(answer: str) -> str:
    """The content of a box that is all of an answer; else the answer itself."""
    inner = last_boxed(answer)
    alone = inner and answer in (f"\\boxed{{{inner}}}", f"\\fbox{{{inner}}}")
    return inner if inner and alone else answer


def _text(value: Any, location: RowLocation) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # Python writes no integers of more than 4,300 digits
            problem = "the answer is a number of more digits than can be written"
            raise location.error(problem, EXPECTED) from None
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, Decimal) and value.is_finite():  # of parquet, which bounds their digits
        return format(value, "f")
    raise location.error(f"the answer is {shown(value)}", EXPECTED)


def infer_reward(answers: Iterable[str]) -> str:
    """``choice`` for a few short labels, ``numeric`` for numbers, else ``exact_match``."""
    distinct = set(answers)
    if all(map(is_plain_number, distinct)):
        return "numeric"
    if len(distinct) <= 12 and all(len(answer) <= 24 for answer in distinct):
        return "choice"
    return "exact_match"


def is_plain_number(answer: str) -> bool:
    """True when an answer is nothing but a number, in any of the usual notations."""
    written = normalize(answer).strip()
    if "\\" in written or written.startswith("$"):
        around = _IN_DOLLARS.fullmatch(written)
        inner = (around[1] or around[2] or "").strip() if around else written
        if _LATEX_NUMBER.fullmatch(inner):
            return True
    return bool(_WRITTEN_NUMBER.fullmatch(written)) and parse_number(answer) is not None
