"""Two answers side by side are none, and one that is taken back is none either.

What stands between two answers tells: "5 or 6", "A / B" and "A maybe B" offer two, "B! No wait, C"
takes the first one back. Only what is plainly meant so counts: the steps of a derivation have other
words between them.
"""

from __future__ import annotations

import re

WINDOW = 80  # characters before an answer that are looked at, and between two that belong together

_PLAIN = r"[\s\"'()\[\]{}.!?…*#$:-]"
_OR = (
    r"(?:(?<!\w)(?:or|vs|versus|alternatively|oder|ou|или|або|atau|veya|hoặc|lub|czy|eller|أو|या)(?!\w)"
    r"|或|또는|または|もしくは|หรือ)"
)
_PERHAPS = r"(?:(?<!\w)(?:maybe|perhaps|possibly|vielleicht|quizás|возможно)(?!\w)|也许)"
_LISTED = r"(?:[,;/&+|、]|(?<!\w)(?:and|und|et|y|o|e|и|و)(?!\w)|[和と와])"
# Between "or" and what it offers: "or the answer is", "maybe it's".
_FILLER = (
    r"(?:(?<!\w)(?:the|an?|my|its?|it's|that|that's|this|is|are|was|be|could|might|may|can|would"
    r"|should|must|i|we|think|guess|say|so|only|also|even|else|either|both|final|correct|right|other|answer"
    r"|option|choice|label|result|number|value)(?!\w)|\\boxed|\\text)"
)
_FILLED = rf"(?:{_PLAIN}{{1,9}}(?:{_PERHAPS}|{_FILLER})){{0,8}}"
_JOINED = re.compile(
    rf"(?:{_PLAIN}|{_LISTED}|(?:{_OR}|{_PERHAPS}|(?<!\w)and(?!\w)){_FILLED}|(?<!\w)(?:also|even|option|choice)(?!\w)"
    r"|\\(?:text|q?quad|,|;))*",
    re.IGNORECASE,
)
_ANY_OR = re.compile(_OR, re.IGNORECASE)
_ANY_DOUBT = re.compile(f"{_OR}|{_PERHAPS}", re.IGNORECASE)
_ANY_JOINT = re.compile(f"{_OR}|{_PERHAPS}|{_LISTED}", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?…][\"')\]]*\s|\n")
_OFFERED = re.compile(rf"{_OR}{_FILLED}{_PLAIN}*$", re.IGNORECASE)
_EITHER_FORMULA = re.compile(
    r"(?<![^\W_])(?:or|vs|versus|oder|ou)(?![^\W_])"
    r"(?!\W*(?:about|approx\w*|roughly|around|equivalently|simply|in|≈|~|\\approx))",
    re.IGNORECASE,
)
_BACK = (
    r"(?:wait|actually|sorry|correction|rather|oops|hmm+|i\s+meant?|scratch\s+that"
    r"|on\s+second\s+thoughts?"
)
_BEFORE_BACK = r"(?:^|[.,;:!?…*-])\s*(?:(?:no|oh|but|or)[\s,.!]{1,3}){0,2}"
_BEHIND_BACK = rf"(?!\w)(?:[\s,.:!;…-]{{1,9}}{_FILLER}){{0,8}}[\s,.:!;…\"'($\[*-]*$"
_TAKEN_BACK = re.compile(f"{_BEFORE_BACK}{_BACK}){_BEHIND_BACK}", re.IGNORECASE)
_DENIED = re.compile(f"{_BEFORE_BACK}{_BACK}|no){_BEHIND_BACK}", re.IGNORECASE)


def are_joined(gap: str, alone: bool) -> bool:
    """Whether what stands between two answers makes both of them meant.

    Args:
        gap: the text between them.
        alone: whether nothing but answers and what joins them stands behind.
    """
    if len(gap) > WINDOW or not _JOINED.fullmatch(gap):
        return False
    joint = _ANY_OR if starts_new_sentence(gap) else _ANY_JOINT
    return alone or bool(joint.search(gap))


def starts_new_sentence(gap: str) -> bool:
    """Whether a sentence or line ends between two answers."""
    return bool(_SENTENCE.search(gap))


def offers_alternative(gap: str) -> bool:
    """Whether the text between two answers offers the second one beside the first: ". Or maybe"."""
    return len(gap) <= WINDOW and bool(_JOINED.fullmatch(gap) and _ANY_DOUBT.search(gap))


def is_hedged(text: str) -> bool:
    """Whether a text has "or", "maybe" or the like anywhere."""
    return bool(_ANY_DOUBT.search(text))


def ends_with_alternative(before: str) -> bool:
    """Whether what stands before an answer offers it beside another: "... or the answer is"."""
    return bool(_OFFERED.search(before, max(0, len(before) - WINDOW)))


def is_retracted(gap: str, no: bool = True) -> bool:
    """Whether the text between two answers takes the first one back: "! No wait, it is".

    Args:
        gap: the text between them.
        no: whether "no" does; it does not where it is an answer.
    """
    return bool((_DENIED if no else _TAKEN_BACK).search(gap, max(0, len(gap) - WINDOW)))


def is_disjunction(formula: str) -> bool:
    """Whether a formula is one of two: "\\sqrt{2} or \\sqrt{3}"."""
    return bool(_EITHER_FORMULA.search(formula))
