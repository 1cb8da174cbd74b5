"""Regular expressions out of data never take long, neither to compile nor to match."""

from __future__ import annotations

import time

import pytest

from trials.io.errors import RewardError
from trials.matching.bounded_regex import compile_bounded


@pytest.mark.parametrize("pattern", ["(b+)+$", "(?:(?:ab)+)+$", "(a+)+$"])
def test_patterns_that_try_too_many_ways_are_refused(pattern: str) -> None:
    with pytest.raises(RewardError, match=r"answer_format .* takes longer than[^!]*no repetition"):
        compile_bounded(pattern, "answer_format")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(b|b)*$", "b" * 20_000 + "!"),
        (r"^(\w+\s?)*$", "word " * 4_000 + "!"),
        ("(x+x+)+y", "x" * 20_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 20_000),
        ("(.*,)*!$", "," * 20_000),
        (r"^(\d+)*:$", "1" * 20_000),
        (r"(.*)\1\1\1$", "ab" * 10_000 + "!"),
    ],
)
def test_any_other_is_refused_or_gives_up(pattern: str, text: str) -> None:
    try:
        matches = compile_bounded(pattern, "answer_format")
    except RewardError:
        return
    begin = time.process_time()
    assert not matches(text)
    assert time.process_time() - begin < 3


@pytest.mark.parametrize(
    "pattern", ["a{1000000000}", "((a{500}){500}){500}", "x" * 1_001, "(a{300}){300}"]
)
def test_patterns_that_are_too_large_are_refused(pattern: str) -> None:
    begin = time.monotonic()
    with pytest.raises(RewardError, match="larger than can be matched"):
        compile_bounded(pattern, "answer_format")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("pattern", ["(", "[a", "(?:" * 240 + "a" + ")" * 239])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(RewardError, match="not a regular expression"):
        compile_bounded(pattern, "answer_format")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^<think>.*</think>\s*Answer: \w+$", "<think>so\nit is</think> Answer: yes", True),
        (r"^<think>.*</think>\s*Answer: \w+$", "Answer: yes", False),
        (r"#### -?[\d,]+", "so\n#### 1,200", True),
        (r"^(?:Step \d+: [^\n]*\n)+Answer: .+$", "Step 1: a\nStep 2: b\nAnswer: 3", True),
        (r"\d{4}-\d{2}-\d{2}", "2024-05-06", True),
        (r"(\d+,)*\d+", "1,2,3", True),
        (r"\\boxed\{.+\}", r"\boxed{3}", True),
    ],
)
def test_usual_patterns_are_matched(pattern: str, text: str, found: bool) -> None:
    assert compile_bounded(pattern, "answer_format")(text) is found
