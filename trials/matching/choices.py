"""The reward ``choice``: one of a few labels or words, named in a sentence or alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from typing import NamedTuple

from trials.matching import hedges
from trials.matching.text import (
    canonical,
    canonical_bare,
    extract_answer,
    first_sentence,
    is_unspaced,
    normalize,
    only_bold,
    strip_markdown,
    without_thinking,
)

# How surely a label is meant as one: "B) a dog" more than "B" in a sentence, and that more than the
# "A" of "A dog", which may be the article.
POSSIBLE_ARTICLE, NAMED, DEFINITE, CALLED_CORRECT = range(4)

_HANGUL = (0xAC00, 0xD7AF)  # spaced, but particles are attached

_DENIAL = r"""(?:
      (?<!\w)(?:not|never|neither|nor|cannot\s+be|than|over|rul(?:e|ed|ing)\s+out|instead\s+of|despite|unlike|except|without
        |non|nicht|keine?|kein|pas|ni|não|нет|не|و?ليست?|không(?:\s+phải)?|NO)
      |n't)
      \s+(?:(?:a|an|the|un|une|eine?|be|is|it|it's|that|case|think|believe|answer|option|choice
        |label|correct|right)\s+){0,6}["'(\[]*$
    | (?<!\w)(?:anything|everything|all)\s+but\s+["'(\[]*$
    | (?:不是|并非|並非|不|非|没有|没|無|无|未|ไม่)["'(\[]*$
    """
_NOT_BEHIND = re.compile(
    r"""["')\]]*\s*(?:
        (?:is|are|was|seems?|looks?|would\s+be|must\s+be)\s+
          (?:clearly\s+|definitely\s+|also\s+)?(?:not|wrong|incorrect|false|impossible|out)\b
      | (?:is|are|was|does|can|would)n't\b | cannot\b | can't\b | ist\s+(?:nicht|falsch)\b
      | (?:选?项)?是?(?:错|不对|不正确|不符)
      | (?:では|じゃ)(?:ない|ありません) | \s*(?:değil|नहीं) | 이?\s?아니)""",
    re.VERBOSE | re.IGNORECASE,
)
_RIGHT_BEHIND = re.compile(
    r"""["')\]]*\s*(?:is|must\s+be|seems|looks|fits)\s+(?:clearly\s+|definitely\s+)?
        (?:the\s+)?(?:(?:only|most|one)\s+)*
        (?:correct|right|best|better|answer|true\s+answer)\b | (?:选?项)?是?正确""",
    re.VERBOSE | re.IGNORECASE,
)
_CALLED = re.compile(
    r"(?:(?<!\w)(?:option|choice|label|candidate|alternative|variant|opción|opção)\s|选项|選項|选择?)"
    r"\s*[\"'(\[{]*$",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"(?<!\w)(?:choose|chose|pick|select|go\s+(?:with|for)|opt\s+for|leaves|leaving)\s+"
    r"(?:(?:option|choice|answer|label)\s+)?",
    re.IGNORECASE,
)
_SO = re.compile(
    r"(?<!\w)(?:so|therefore|thus|hence|consequently|must be|it's|it is|in conclusion|in the end"
    r"|overall|ultimately|only)(?!\w)",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s+(?:or|and|is|are|was|as|because|since|for|but|not|nor|vs|seems|looks|would|must|fits|nor)\b"
)
# "no evidence", "no doubt": behind a word and before a noun it is no answer.
_DETERMINER = re.compile(
    r"""\s+(?!(?:because|since|as|for|but|and|or|nor|not|if|when|while|due|given|is|was|are|were
        |wait|actually|sorry|i|you|he|she|it|we|they|this|that|these|those|there|the|an?)\b)[^\W\d_]{2}""",
    re.VERBOSE,
)
# What a letter belongs to that is no label.
_NAMED_BY_LETTER = re.compile(
    r"(?:[#@]|°\s?|(?<!\w)(?:vitamine?|vitamina|hepatitis|influenza)\s)$", re.IGNORECASE
)
_NOR = re.compile(r"\s*,?\s*(?:or|nor)\s+", re.IGNORECASE)
_AND = re.compile(r"\s*,?\s*(?:and|or|nor|&)\s+", re.IGNORECASE)
_COMMA = re.compile(r"\s*,\s*")
_ELIMINATED = re.compile(
    r"(?<!\w)(?:eliminat|discard|reject|exclud|dismiss|rul)(?:e|es|ed|ing)?\s+(?:out\s+)?"
    r"(?:(?:options?|choices?|both)\s+){0,2}[\"'(\[]*$",
    re.IGNORECASE,
)
_PLURAL = re.compile(r"[\"')\]]*\s*(?:are|were)(?!\w)", re.IGNORECASE)
# "B; A is a distractor": a sentence of its own begins.
_SUBJECT = re.compile(
    r"[\"')\]]*\s+(?:is|was|has|does|would|could|isn't|wasn't|doesn't|wouldn't)\s+(?!also\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?<!\w)[^\W\d_](?!\w)")
_OPENING, _CLOSING = "([{\"'", ")]}\"'"


class Mention(NamedTuple):
    """A choice that a text names."""

    start: int
    end: int
    name: str
    certainty: int


@dataclass(frozen=True)
class Choice:
    """Right when exactly one of the choices, a right one, is what the final answer names.

    The longest choice is matched first: "New York" does not name "York" too. A single letter counts
    as a label and not as a word ("a car"), a choice that is denied ("not entailment") does not
    count, and two choices side by side are no answer.

    Attributes:
        marker: what the answer follows.
        choices: all there are.
    """

    marker: str
    choices: tuple[str, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(map(_name, self.choices))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        forms = {
            form
            for each in self.choices
            for form in (_name(each), strip_markdown(normalize(each)).strip())
        }
        longest_first = sorted(forms - {""}, key=lambda form: (-len(form), form))
        spaced = (re.escape(form).replace(r"\ ", r"\s+") for form in longest_first)
        return re.compile("|".join(spaced) or r"(?!)", re.IGNORECASE)

    @cached_property
    def _denial(self) -> re.Pattern[str]:
        # "no entailment", but "no" is an answer of its own where it is one of the choices.
        pattern = _DENIAL.replace("NO", "(?!)" if "no" in self.names else "no")
        return re.compile(pattern, re.VERBOSE | re.IGNORECASE)

    def read(self, completion: str) -> str:
        """What is taken as the answer."""
        return " and ".join(sorted(self._found(completion))) or "none of the choices"

    def score(self, completion: str, answers: tuple[str, ...]) -> float:
        found = self._found(completion)
        return float(bool(found) and found <= {_name(answer) for answer in answers})

    def _found(self, completion: str) -> set[str]:
        """The different choices that the completion states as its answer."""
        said, marked = extract_answer(completion, self.marker)
        sentence = self._answering(said) if marked else said
        for whole in (canonical_bare(said), canonical_bare(sentence)):
            if whole in self.names:
                return {whole}
        least = POSSIBLE_ARTICLE if marked else NAMED
        found = self._stated(sentence, least) or self._stated(said, least)
        if len(found) > 1 and not marked:
            return self._concluded(said) or self._bold(completion) or found
        return found

    def _bold(self, completion: str) -> set[str]:
        """The choice that alone is bold in the last line with anything bold."""
        bold = only_bold(normalize(without_thinking(completion, self.marker)))
        return self._stated(bold) if bold else set()

    def _answering(self, text: str) -> str:
        """The first sentence; all where what follows adds a choice to it, or takes its own back."""
        sentence, mentions = first_sentence(text), self._mentions(text)
        joined = self._joined(text, mentions)
        for index, (left, right) in enumerate(pairwise(mentions)):
            if left.end <= len(sentence) < right.end:
                beyond = joined[index] or self._taken_back(text, left, right)
                return text if beyond else sentence
        return sentence

    def _taken_back(self, text: str, left: Mention, right: Mention) -> bool:
        """Whether the second choice stands for the first; "Wait, B?" is but a question."""
        gap = text[left.end : right.start]
        return hedges.is_retracted(gap, no="no" not in self.names) and not _asked(text, right)

    def _joined(self, text: str, mentions: list[Mention]) -> list[bool]:
        """Whether each mention and the next one are both meant: "B or C", or "B C" and no more."""
        gaps = [text[left.end : right.start] for left, right in pairwise(mentions)]
        # How many choices stand at the beginning, and whether one stands at the end, with nothing
        # but choices: "Let me look at A. B." says more than these two.
        before = [text[: mentions[0].start], *gaps] if mentions else []
        opening = len(list(takewhile(lambda gap: hedges.are_joined(gap, alone=True), before)))
        alone = bool(mentions) and not re.search(r"\w", text[mentions[-1].end :])
        joined: list[bool] = []
        for index in range(len(gaps) - 1, -1, -1):
            gap = gaps[index]
            if not hedges.is_hedged(gap) and _SUBJECT.match(text, mentions[index + 1].end):
                joined.append(False)
                continue
            alone = alone and hedges.are_joined(gap, alone=True)
            asked = "?" in gap and not _asked(text, mentions[index + 1])
            apart = asked or (hedges.starts_new_sentence(gap) and index >= opening)
            joined.append(hedges.are_joined(gap, alone and not apart))
        return joined[::-1]

    def _stated(self, text: str, least: int = POSSIBLE_ARTICLE) -> set[str]:
        mentions = self._mentions(text)
        for left, right in reversed(list(pairwise(mentions))):
            if self._taken_back(text, left, right):
                return self._stated(text[right.start :], least)
        if not mentions or max(each.certainty for each in mentions) < least:
            return set()
        surest = max(each.certainty for each in mentions)
        first = mentions[0]
        leads = not re.search(r"\w", text[: first.start]) and _ends_label(text, first)
        if leads and surest < CALLED_CORRECT and not _is_list(text, mentions):
            meant = {first}
        else:
            meant = {each for each in mentions if each.certainty == surest}
        pairs = list(zip(pairwise(mentions), self._joined(text, mentions), strict=True))
        for (left, right), joined in pairs:  # "B or C": both are meant
            if left in meant and joined:
                meant.add(right)
        for (left, right), joined in reversed(pairs):
            if right in meant and joined and not leads:
                meant.add(left)
        return {each.name for each in meant}

    def _concluded(self, text: str) -> set[str]:
        """What the last conclusion in a text says: "I choose B", "So it is C."."""
        chosen = [match.end() for match in _CHOSEN.finditer(text)]
        if chosen and (found := self._stated(self._answering(text[chosen[-1] :]))):
            return found
        sentences = [each for each in re.split(r"[.!?](?:\s+|$)|\n", text) if each.strip()]
        last = sentences[-1] if sentences else ""
        conclusions = list(_SO.finditer(last))
        if not conclusions:
            return set()
        begin, end = conclusions[-1].span()
        for left, right in pairwise(self._mentions(last)):
            gap = _SO.sub(" ", last[left.end : right.start])
            if left.end <= begin < right.start and hedges.are_joined(gap, alone=False):
                return set()  # "it's A or it's B"
        return self._stated(last[end:]) or self._stated(last)

    def _mentions(self, text: str) -> list[Mention]:
        """All choices that stand in a text as words of their own, and are not denied."""
        named: list[Mention] = []
        letters = _is_letters(text)
        for match in self._pattern.finditer(text):
            start, end, name = match.start(), match.end(), _name(match[0])
            if name not in self.names or _within_word(text, start, end):
                continue
            certainty = _certainty(text, start, end, letters)
            if certainty is not None:
                named.append(Mention(start, end, name, certainty))
        denied = self._denied(text, named)
        denied |= self._called_wrong(text, named)
        found = [each for each in named if each not in denied]
        others = [each for each in found if not _is_determiner(text, each)]
        return others or found

    def _denied(self, text: str, named: list[Mention]) -> set[Mention]:
        """The choices that are denied or ruled out; lists such as "not A, C or D" to their end."""
        denied: set[Mention] = set()
        for index, mention in enumerate(named):
            before = text[: mention.start][-60:]
            eliminated = _ELIMINATED.search(before)
            if not eliminated and not self._denial.search(before):
                continue
            waiting = [mention]
            denied.add(mention)
            for left, right in pairwise(named[index:]):
                waiting.append(right)
                if (_AND if eliminated else _NOR).fullmatch(text, left.end, right.start):
                    denied.update(waiting)
                elif not _COMMA.fullmatch(text, left.end, right.start):
                    break
        return denied

    def _called_wrong(self, text: str, named: list[Mention]) -> set[Mention]:
        """The choices of which it is said behind them; "B, C and D are wrong" from the first on."""
        wrong: set[Mention] = set()
        listed = False
        for index in range(len(named) - 1, -1, -1):
            here = named[index]
            if listed:
                gap = here.end, named[index + 1].start
                listed = bool(_COMMA.fullmatch(text, *gap) or _AND.fullmatch(text, *gap))
            if listed or _NOT_BEHIND.match(text, here.end):
                wrong.add(here)
            listed = listed or bool(_PLURAL.match(text, here.end) and here in wrong)
        return wrong


def _name(choice: str) -> str:
    """One form for a choice, however it is written."""
    return canonical_bare(choice) or canonical(choice)


def _is_determiner(text: str, mention: Mention) -> bool:
    before, behind = text[: mention.start], text[mention.end :]
    return (
        mention.name == "no"
        and bool(re.search(r"[\w,;]\s+$", before[-20:]))
        and bool(_DETERMINER.match(behind))
    )


def _is_letters(text: str) -> bool:
    """Whether single letters and what joins them are all there is: "a or b"."""
    return len(text) <= hedges.WINDOW and hedges.are_joined(_LETTER.sub(" ", text), alone=True)


def _certainty(text: str, start: int, end: int, letters: bool) -> int | None:
    """How surely the label is meant as one; None for a letter that is but a word."""
    if _RIGHT_BEHIND.match(text, end):
        return CALLED_CORRECT
    if end - start > 1 or not text[start].isalpha() or is_unspaced(text[start]):
        return NAMED
    before, behind = text[:start].rstrip(), text[end:]
    wrapped = before[-1:] in _OPENING and behind[:1] in _CLOSING if before and behind else False
    if wrapped or behind[:1] in (")", "]", ":") or _CALLED.search(text[:start][-40:]):
        return DEFINITE
    if not re.search(r"\w", behind) or re.match(r"\.(?:\s|[^\W_]{2})", behind):
        return DEFINITE
    if text[start].islower() and not letters:
        return None
    word = re.match(r"\s+[^\W\d_]", behind)
    opens = not before or before[-1] in ".!?\n"
    if word and text[start] in "AI" and opens and not _GOES_ON.match(behind):
        return POSSIBLE_ARTICLE
    return NAMED


def _asked(text: str, mention: Mention) -> bool:
    return bool(re.match(r"[\"')\]]*\?", text[mention.end : mention.end + 9]))


def _ends_label(text: str, mention: Mention) -> bool:
    """Whether what follows a mention at the beginning sets it apart: "B) ...", "yes, ..."."""
    return bool(
        re.match(
            r"""["'\]]*\s*?(?:[)\].:,;!\n]|-\s|\s(?:because|since|as|for)\b|$)""",
            text[mention.end :],
        )
    )


def _is_list(text: str, mentions: Iterable[Mention]) -> bool:
    """Whether the options are listed again: "A) dog B) cat"."""
    # With what stands before: the "A" of "a car (A)" is no item of a list of "A) ...".
    marks = [
        (text[each.start - 1 : each.start] == "(", text[each.end : each.end + 1])
        for each in mentions
    ]
    return marks[0][1] in tuple(").:") and marks.count(marks[0]) > 1


def _within_word(text: str, start: int, end: int) -> bool:
    """Whether the letters at both sides make the match a part of a longer word."""
    before, behind = text[max(0, start - 2) : start], text[end : end + 3]
    first, last = text[start], text[end - 1]
    if _joins(before[-1:], first) or (_joins(last, behind[:1]) and not _hangul(behind[:1])):
        return True
    if behind and unicodedata.category(behind[0]).startswith("M"):
        return True
    letter = end - start == 1 and first.isascii() and first.isalpha()
    if letter and (re.match(r"'\w|[+#]|\.\w(?!\w)", behind) or re.search(r"\w['.]$", before)):
        return True
    if letter and _NAMED_BY_LETTER.search(text[max(0, start - 12) : start]):
        return True
    if first.isdigit() and re.search(r"\d[.,]$", before):
        return True
    if last.isdigit() and re.match(r"[.,]\d", behind):
        return True
    return bool(re.match(r"-\w", behind) or re.search(r"\w-$", before))


def _joins(left: str, right: str) -> bool:
    """Whether two neighbours are letters of one word."""
    if not left or not right or not (_is_letter(left) and _is_letter(right)):
        return False
    return not is_unspaced(left) and not is_unspaced(right)


def _is_letter(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def _hangul(character: str) -> bool:
    return _HANGUL[0] <= ord(character) <= _HANGUL[1]
