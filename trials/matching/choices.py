"""The reward ``choice``: one of a few labels or words, named in a sentence or alone."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise, takewhile
from typing import NamedTuple

from trials.matching import phrases
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

_HANGUL = (0xAC00, 0xD7AF)  # spaced, but particles are attached
_LETTER = re.compile(r"(?<!\w)[^\W\d_](?!\w)")
_OPENING, _CLOSING = "([{\"'", ")]}\"'"


class Certainty(IntEnum):
    """Confidence that a label is meant as one: "B) a dog" more than "B" in a sentence.

    The "A" of "A dog" may be the article.
    """

    POSSIBLE_ARTICLE = 0
    NAMED = 1
    DEFINITE = 2
    CALLED_RIGHT = 3


class Mention(NamedTuple):
    """A choice that a text names."""

    start: int
    end: int
    name: str
    certainty: Certainty


@dataclass(frozen=True)
class Choice:
    """Right when exactly one of the choices, a right one, is what the final answer names.

    The longest choice is matched first: "New York" does not name "York" too. A single letter counts
    as a label and not as a word ("a car"), a choice that is denied ("not entailment") does not
    count, and two choices side by side are not an answer.
    """

    marker: str
    choices: tuple[str, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(map(_name, self.choices))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        written = {strip_markdown(normalize(choice)).strip() for choice in self.choices}
        longest_first = sorted((self.names | written) - {""}, key=lambda form: (-len(form), form))
        spaced = (re.escape(form).replace(r"\ ", r"\s+") for form in longest_first)
        return re.compile("|".join(spaced) or r"(?!)", re.IGNORECASE)

    @cached_property
    def _denial(self) -> re.Pattern[str]:
        return phrases.denial(no="no" not in self.names)

    def read(self, completion: str) -> str:
        """The label or labels that are taken as the answer."""
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
        least = Certainty.POSSIBLE_ARTICLE if marked else Certainty.NAMED
        found = self._stated(sentence, least) or self._stated(said, least)
        if len(found) > 1 and not marked:
            bold = only_bold(normalize(without_thinking(completion, self.marker)))
            return self._concluded(said) or (self._stated(bold) if bold else set()) or found
        return found

    def _answering(self, text: str) -> str:
        """The first sentence; all where what follows adds a choice to it, or takes its own back."""
        sentence, mentions = first_sentence(text), self._mentions(text)
        for (left, right), joined in self._pairs(text, mentions):
            if left.end <= len(sentence) < right.end:
                return text if joined or self._retracted(text, left, right) else sentence
        return sentence

    def _retracted(self, text: str, left: Mention, right: Mention) -> bool:
        """True when the second choice stands for the first; "Wait, B?" is but a question."""
        gap = text[left.end : right.start]
        return phrases.is_retracted(gap, no="no" not in self.names) and not _asked(text, right)

    def _pairs(
        self, text: str, mentions: list[Mention]
    ) -> list[tuple[tuple[Mention, Mention], bool]]:
        """Neighbours, and whether both are meant: "B or C", or "B C" and no more."""
        pairs = list(pairwise(mentions))
        gaps = [text[left.end : right.start] for left, right in pairs]
        # How many choices stand at the beginning, and whether one stands at the end, with nothing
        # but choices: "Let me look at A. B." says more than these two.
        before = [text[: mentions[0].start], *gaps] if mentions else []
        opening = len(list(takewhile(lambda gap: phrases.are_joined(gap, alone=True), before)))
        alone = bool(mentions) and not re.search(r"\w", text[mentions[-1].end :])
        joined: list[bool] = []
        for index, gap in reversed(list(enumerate(gaps))):
            right = mentions[index + 1]
            if not phrases.HEDGE.search(gap) and phrases.SUBJECT.match(text, right.end):
                joined.append(False)
                continue
            alone = alone and phrases.are_joined(gap, alone=True)
            apart = "?" in gap and not _asked(text, right)
            apart = apart or (bool(phrases.SENTENCE_BREAK.search(gap)) and index >= opening)
            joined.append(phrases.are_joined(gap, alone and not apart))
        return list(zip(pairs, reversed(joined), strict=True))

    def _stated(self, text: str, least: int = Certainty.POSSIBLE_ARTICLE) -> set[str]:
        mentions = self._mentions(text)
        for left, right in reversed(list(pairwise(mentions))):
            if self._retracted(text, left, right):
                return self._stated(text[right.start :], least)
        surest = max((each.certainty for each in mentions), default=-1)
        if surest < least:
            return set()
        first = mentions[0]
        leads = not re.search(r"\w", text[: first.start]) and bool(
            phrases.LABEL_ENDS.match(text[first.end :])
        )
        if leads and surest < Certainty.CALLED_RIGHT and not _is_list(text, mentions):
            meant = {first}
        else:
            meant = {each for each in mentions if each.certainty == surest}
        pairs = self._pairs(text, mentions)
        for (left, right), joined in pairs:
            if left in meant and joined:
                meant.add(right)
        for (left, right), joined in reversed(pairs):
            if right in meant and joined and not leads:
                meant.add(left)
        return {each.name for each in meant}

    def _concluded(self, text: str) -> set[str]:
        """The choices that the last conclusion in a text names: "I choose B", "So it is C."."""
        chosen = [match.end() for match in phrases.CHOSEN.finditer(text)]
        if chosen and (found := self._stated(self._answering(text[chosen[-1] :]))):
            return found
        sentences = [each for each in re.split(r"[.!?](?:\s+|$)|\n", text) if each.strip()]
        last = sentences[-1] if sentences else ""
        conclusions = list(phrases.CONCLUSION.finditer(last))
        if not conclusions:
            return set()
        begin, end = conclusions[-1].span()
        for left, right in pairwise(self._mentions(last)):
            gap = phrases.CONCLUSION.sub(" ", last[left.end : right.start])
            if left.end <= begin < right.start and phrases.are_joined(gap, alone=False):
                return set()  # "it's A or it's B"
        return self._stated(last[end:]) or self._stated(last)

    def _mentions(self, text: str) -> list[Mention]:
        """All choices that stand in a text as words of their own, and are not denied."""
        named: list[Mention] = []
        # Single letters and what joins them are all there is: "a or b".
        letters = len(text) <= phrases.WINDOW and phrases.are_joined(_LETTER.sub(" ", text), True)
        for match in self._pattern.finditer(text):
            start, end, name = match.start(), match.end(), _name(match[0])
            if name not in self.names or _within_word(text, start, end):
                continue
            certainty = _certainty(text, start, end, letters)
            if certainty is not None:
                named.append(Mention(start, end, name, certainty))
        denied = self._denied(text, named) | _called_wrong(text, named)
        found = [each for each in named if each not in denied]
        return [each for each in found if not _is_determiner(text, each)] or found

    def _denied(self, text: str, named: list[Mention]) -> set[Mention]:
        """The choices that are denied or ruled out; lists such as "not A, C or D" to their end."""
        denied: set[Mention] = set()
        for index, mention in enumerate(named):
            before = text[: mention.start][-60:]
            eliminated = phrases.ELIMINATED.search(before)
            if not eliminated and not self._denial.search(before):
                continue
            listed = [mention]
            denied.add(mention)
            last = phrases.AND_OR_NOR if eliminated else phrases.NOR
            for left, right in pairwise(named[index:]):
                listed.append(right)
                if last.fullmatch(text, left.end, right.start):
                    denied.update(listed)
                elif not phrases.COMMA.fullmatch(text, left.end, right.start):
                    break
        return denied


def _called_wrong(text: str, named: list[Mention]) -> set[Mention]:
    """The choices called wrong behind them; "B, C and D are wrong" from the first on."""
    wrong: set[Mention] = set()
    listed, following = False, 0
    for here in reversed(named):
        gap = here.end, following
        listed = listed and bool(
            phrases.COMMA.fullmatch(text, *gap) or phrases.AND_OR_NOR.fullmatch(text, *gap)
        )
        if listed or phrases.CALLED_WRONG.match(text, here.end):
            wrong.add(here)
            listed = listed or bool(phrases.CALLED_PLURAL.match(text, here.end))
        following = here.start
    return wrong


def _name(choice: str) -> str:
    """One form for a choice, however it is written."""
    return canonical_bare(choice) or canonical(choice)


def _is_determiner(text: str, mention: Mention) -> bool:
    """True when this is the "no" of "there is no doubt"."""
    return (
        mention.name == "no"
        and bool(re.search(r"[\w,;]\s+$", text[: mention.start][-20:]))
        and bool(phrases.DETERMINED_NOUN.match(text[mention.end :]))
    )


def _certainty(text: str, start: int, end: int, letters: bool) -> Certainty | None:
    """Confidence that a label is meant as one; None for a letter that is but a word."""
    if phrases.CALLED_RIGHT.match(text, end):
        return Certainty.CALLED_RIGHT
    if end - start > 1 or not text[start].isalpha() or is_unspaced(text[start]):
        return Certainty.NAMED
    before, behind = text[:start].rstrip(), text[end:]
    wrapped = bool(before and behind) and before[-1] in _OPENING and behind[0] in _CLOSING
    if wrapped or behind[:1] in (")", "]", ":") or phrases.CALLED_OPTION.search(text[:start][-40:]):
        return Certainty.DEFINITE
    if not re.search(r"\w", behind) or re.match(r"\.(?:\s|[^\W_]{2})", behind):
        return Certainty.DEFINITE
    if text[start].islower() and not letters:
        return None
    word = re.match(r"\s+[^\W\d_]", behind)
    opens = not before or before[-1] in ".!?\n"
    if word and text[start] in "AI" and opens and not phrases.LABEL_CONTINUES.match(behind):
        return Certainty.POSSIBLE_ARTICLE
    return Certainty.NAMED


def _asked(text: str, mention: Mention) -> bool:
    return bool(phrases.ASKED.match(text, mention.end, mention.end + 9))


def _is_list(text: str, mentions: list[Mention]) -> bool:
    """True when the options are listed again: "A) dog B) cat"."""
    # With what stands before: the "A" of "a car (A)" is not an item of a list of "A) ...".
    marks = [
        (text[each.start - 1 : each.start] == "(", text[each.end : each.end + 1])
        for each in mentions
    ]
    return marks[0][1] in tuple(").:") and marks.count(marks[0]) > 1


def _within_word(text: str, start: int, end: int) -> bool:
    """True when the letters at both sides make the match a part of a longer word."""
    before, behind = text[max(0, start - 2) : start], text[end : end + 3]
    first, last = text[start], text[end - 1]
    hangul = bool(behind) and _HANGUL[0] <= ord(behind[0]) <= _HANGUL[1]
    if _joins(before[-1:], first) or (_joins(last, behind[:1]) and not hangul):
        return True
    if behind and unicodedata.category(behind[0]).startswith("M"):
        return True
    letter = end - start == 1 and first.isascii() and first.isalpha()
    return bool(
        (letter and (re.match(r"'\w|[+#]|\.\w(?!\w)", behind) or re.search(r"\w['.]$", before)))
        or (letter and phrases.LETTERED_NAME.search(text[max(0, start - 12) : start]))
        or (first.isdigit() and re.search(r"\d[.,]$", before))
        or (last.isdigit() and re.match(r"[.,]\d", behind))
        or re.match(r"-\w", behind)
        or re.search(r"\w-$", before)
    )


def _joins(left: str, right: str) -> bool:
    """True when two neighbours are letters of one word."""
    return all(
        side and (side == "_" or unicodedata.category(side)[0] in "LNM") and not is_unspaced(side)
        for side in (left, right)
    )
