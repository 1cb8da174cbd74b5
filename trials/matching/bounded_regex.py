"""Regular expressions out of data, with a bound on what compiling and matching them takes.

The library ``regex`` interrupts a match that takes too long, which Python's own cannot. A pattern
that needs it on short texts is refused when it is read, and where one gets by, a match that takes
too long counts as none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import regex

from trials.io.errors import RewardError
from trials.io.problems import shown

MAX_PATTERN_CHARACTERS = 1_000  # characters
MAX_REPEAT = 1_000
MAX_EXPANSION = 20_000  # a{100} in (...){100} becomes 10,000 copies
MATCH_SECONDS = 0.25
PROBE_SECONDS = 0.5
PROBE_CHARACTERS = 2_000
_COUNT = re.compile(r"\{\s*(\d+)?\s*(?:,\s*(\d+)?\s*)?\}")


@lru_cache(maxsize=64)
def compile_bounded(pattern: str, where: str) -> Callable[[str], bool]:
    """True when a text has a match of a pattern anywhere; "." matches line ends too.

    ``where`` names the setting that the pattern comes from.

    Raises:
        RewardError: when it is not a regular expression, or takes too long to be matched.
    """
    place = f"{where} {shown(pattern)} in dataset.yaml"
    counts = [[int(n[:9]) for n in match.groups() if n] for match in _COUNT.finditer(pattern)]
    repeats = max((max(each) for each in counts if each), default=0)
    copies = math.prod(max(1, each[0]) for each in counts if each)
    if len(pattern) > MAX_PATTERN_CHARACTERS or repeats > MAX_REPEAT or copies > MAX_EXPANSION:
        raise RewardError(
            f"{place} is larger than can be matched\n  expected: at most {MAX_PATTERN_CHARACTERS} "
            f"characters, and no part repeated more than {MAX_REPEAT} times by a count in braces"
        )
    try:
        compiled = regex.compile(pattern, regex.DOTALL)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise RewardError(
            f"{place} is not a regular expression: {error}; expected one of Python's, such as "
            "'^<think>.*</think>Answer: '"
        ) from None
    for text in _hard_texts(pattern):
        try:
            compiled.search(text, timeout=PROBE_SECONDS)
        except TimeoutError:
            raise RewardError(
                f"{place} takes longer than {PROBE_SECONDS} s on a text of {len(text):,} "
                "characters\n  expected: no repetition within a repetition, such as '(a+)+' or "
                "'(\\w+\\s?)*': write 'a+' or '[\\w\\s]*'"
            ) from None

    def matches(text: str) -> bool:
        with suppress(TimeoutError):
            return compiled.search(text, timeout=MATCH_SECONDS) is not None
        return False

    return matches


def _hard_texts(pattern: str) -> list[str]:
    """Long repetitions of what stands in a pattern, with an end that matches nothing."""
    found = re.findall(r"(?:\\\W|[^\W_]|[ _-])+", pattern)
    words = [re.sub(r"\\(\W)", r"\1", word) for word in found]
    characters = sorted({c for word in words for c in word})[:12]
    units = dict.fromkeys([*words[:8], *characters, "a", "0", " ", "a ", "a\n", "\n", "<a>"])
    return [f"{unit * (PROBE_CHARACTERS // len(unit) + 1)}\x00" for unit in units if unit]
