"""The reward ``exact_match``: the same text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trials.matching.text import (
    DEFAULT_MARKER,
    canonical,
    canonical_bare,
    extract_answer,
    final_answer,
    first_sentence,
    has_marker,
    without_thinking,
)

_PUNCTUATION = re.compile(r"(?<=[^\W\d_])[!?,;:.]+$")  # behind a word: "5!" is another number
_FACTORIAL = re.compile(r"[\d)]\s*!")


@dataclass(frozen=True)
class ExactMatch:
    """Right when the final answer is the same text, up to what has no meaning of its own.

    That is case, spaces, quotes, emphasis, punctuation at the end and Unicode's several ways to
    write one thing.
    """

    marker: str

    def read(self, completion: str) -> str:
        """The text that is taken as the answer."""
        return final_answer(completion, self.marker)

    def score(self, completion: str, answers: tuple[str, ...]) -> float:
        lines = 1 + max(answer.count("\n") for answer in answers)
        found = final_answer(completion, self.marker, lines)
        readings = _readings(found)
        right = {canonical(answer) for answer in answers}
        right = (right | {_PUNCTUATION.sub("", form) for form in right}) - {""}
        if readings & right:
            return 1.0
        completion = without_thinking(completion, self.marker)
        said, marked = extract_answer(completion, self.marker)
        # A dataset that names a marker of its own means that one, and no other label.
        if marked and (self.marker == DEFAULT_MARKER or has_marker(completion, self.marker)):
            readings |= _readings(said)
            if not _FACTORIAL.search(said):
                readings.add(canonical_bare(first_sentence(said)))
        return float(bool(readings & right))


def _readings(text: str) -> set[str]:
    return {canonical(text)} if _FACTORIAL.search(text) else {canonical(text), canonical_bare(text)}
