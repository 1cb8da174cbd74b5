"""Turns of a chat that stand as text where one turn is expected: repeated prompts, transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trials.matching.text import is_unspaced

# A restated sum is a way to answer, a restated question of so many words is a mistake. Where words
# are written without spaces, so many letters are about as long.
MIN_WORDS, MIN_UNSPACED_LETTERS = 3, 6
QUESTION_CHARACTERS = 1_000  # characters of a question, for whether it has so many
WINDOW = 60  # characters before a question that may say whose it is
_WORD = re.compile(r"[^\W\d_]{2,}")
_TOKEN = (
    r"(?:<\|(?:im_start|im_end|start_header_id|end_header_id|eot_id|eom_id|begin_of_text|endoftext"
    r"|system|user|assistant|end|turn)\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>)"
)
_MARK = r"[\s#*]{0,8}"
_LINE = rf"(?:^|\n){_MARK}(?:%s)[\s*]{{0,4}}:"
_LABEL = re.compile(rf"{_MARK}(?:question|instruction|prompt|input|q)[\s*]{{0,4}}:{_MARK}", re.I)
_ASKED = re.compile(
    rf"(?:{_TOKEN}\s*(?:(?:user|human)\s*)?|{_LINE % 'user|human|prompter'}){_MARK}$", re.I
)
_ENDS = re.compile(r"\s*(?:\n|<|\[/INST|$)")
_TOKENS = re.compile(_TOKEN)
_USER, _ASSISTANT = re.compile(_LINE % "user|human", re.I), re.compile(_LINE % "assistant|ai", re.I)


def repeats_prompt(text: str, prompts: Iterable[Sequence[Mapping[str, Any]]]) -> bool:
    """True when a text begins with any of the prompts or its last message, or asks it in a chat."""
    label = _LABEL.match(text)
    begin = text[label.end() :] if label else text
    for prompt in prompts:
        last = prompt[-1]["content"].strip()
        whole = " ".join(message["content"] for message in prompt)
        if any(_begins(begin, asked) and _is_long(asked) for asked in (last, whole)):
            return True
        if _is_asked(text, last):
            return True
    return False


def find_turn(text: str) -> str | None:
    """The first mark in a text that begins or ends a turn of a chat; None without one."""
    found = _TOKENS.search(text) or (_ASSISTANT.search(text) and _USER.search(text))
    return found[0].strip() if found else None


def _begins(text: str, asked: str) -> bool:
    """True when a text begins with another, whatever the white space."""
    words = asked.split()
    return " ".join(text.split(maxsplit=len(words))).startswith(" ".join(words))


def _is_asked(text: str, question: str) -> bool:
    """True when a user's turn in a text is the question: "User: ...", "<|im_start|>user ..."."""
    at = text.find(question) if question else -1
    while at >= 0:
        end = at + len(question)
        if _ASKED.search(text, max(0, at - WINDOW), at) and _ENDS.match(text, end):
            return True
        at = text.find(question, end)
    return False


def _is_long(asked: str) -> bool:
    asked = asked[:QUESTION_CHARACTERS]
    return (
        len(_WORD.findall(asked)) >= MIN_WORDS
        or sum(map(is_unspaced, asked)) >= MIN_UNSPACED_LETTERS
    )
