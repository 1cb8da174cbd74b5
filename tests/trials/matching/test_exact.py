"""`exact_match` and the reading of texts: what has no meaning of its own does not count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.matching.exact import ExactMatch
from trials.matching.text import final_answer, last_boxed, normalize


def score(answer: str, completion: str, marker: str = "Answer:") -> float:
    return ExactMatch(marker).score(completion, (answer,))


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("Oslo", "oslo"),
        ("Oslo", "*Oslo*"),
        ("Oslo", "__Oslo__"),
        ("Oslo", "`Oslo`"),
        ("Oslo", "'Oslo'"),
        ("Oslo", "„Oslo“"),
        ("Oslo", "« Oslo »"),
        ("Oslo", "Oslo!!"),
        ("Oslo", "Oslo…"),
        ("Oslo", "Oslo。"),
        ("Oslo", "(Oslo)"),
        ("Oslo", "The answer is Oslo."),
        ("Oslo", "The answer is **Oslo**. It lies in Norway."),
        ("Oslo", r"\boxed{\text{Oslo}}"),
        ("Oslo", "Answer: “Oslo”."),
        ('"Oslo"', "Oslo"),
        ("**Oslo**", "Oslo"),
        ("Dr. No", "The answer is Dr. No."),
        ("Ōsaka", "O\u0304saka"),
        ("ﬁnal", "final"),
        ("New  York", "new\u00a0york"),
        ("it's", "it’s"),
        ("שלום", "\u200fשלום\u200f"),
        ("x^2", "x²"),
        ("2*3*4", "2*3*4"),
        ("1 2\n3 4", "Turned:\nAnswer: 1 2\n3 4\nThat is all."),
        ("snake_case_name", "snake_case_name"),
    ],
)
def test_the_same_text(answer: str, completion: str) -> None:
    assert score(answer, completion) == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("Oslo", "Bergen"),
        ("Oslo", "not Oslo"),
        ("Oslo", "Oslo City"),
        ("Oslo", "Answer: Oslo\nAnswer: Bergen"),
        ("C++", "C"),
        ("x2", "x²"),
        ("234", "2*3*4"),
        ("Oslo", ""),
        ('"', ""),
    ],
)
def test_another_text(answer: str, completion: str) -> None:
    assert score(answer, completion) == 0.0


@pytest.mark.parametrize(
    ("text", "marker", "answer"),
    [
        ("so\n#### 5", "####", "5"),
        ("**Answer**: Oslo", "Answer:", "Oslo"),
        ("ANSWER: Oslo\nbecause", "Answer:", "Oslo"),
        ("Answer：Oslo", "Answer:", "Oslo"),
        ("<answer>Oslo</answer>", "<answer>", "Oslo"),
        ("</think>\n\nOslo", "</think>", "Oslo"),
        ("Oslo", "", "Oslo"),
        ("x Answer: a\nAnswer:", "Answer:", ""),
        ("Answer: Rome. No. Answer: Oslo", "Answer:", "Oslo"),
        ("Answer:\nOslo", "Answer:", "Oslo"),
        ("  Oslo \n", "Answer:", "Oslo"),
    ],
)
def test_what_follows_the_marker(text: str, marker: str, answer: str) -> None:
    assert final_answer(text, marker) == answer


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{a}, so \fbox{b}", "b"),
        (r"\boxed{a} \fbox{b}", "a, b"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{open", "open"),
        ("none", None),
    ],
)
def test_the_last_box(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@given(st.text(max_size=200))
def test_tidying_twice_changes_nothing_more(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize("text", ["*" * 20_000, "**a " * 6_000, "\\boxed{" * 3_000, "(" * 20_000])
def test_no_text_is_read_for_long(text: str) -> None:
    assert score("Oslo", text) == 0.0


@pytest.mark.parametrize(
    ("answer", "completion", "right"),
    [
        ("Oslo", "<think>Bergen?</think>Oslo", 1),
        ("Oslo", "<think>Oslo</think>Bergen", 0),
        ("Oslo", "<answer>Oslo</answer>", 1),
        ("Oslo", "Oslo<|im_end|>\n", 1),
        ("</s>", "</s>", 1),
        ("Well, Oslo!", "well, Oslo", 1),
        ("5!", "5", 0),
        ("5", "5!", 0),
        ("5", "Answer: 5!", 0),
        ("5!", "Answer: 5!", 1),
        ("...", "...", 1),
        ("?", "!", 0),
    ],
)
def test_thoughts_tags_end_tokens_and_marks(answer: str, completion: str, right: int) -> None:
    assert score(answer, completion) == right
