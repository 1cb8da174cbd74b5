"""`choice`: labels and words as models name them, scored as a person would score them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.matching.choices import Choice

LETTERS = ("A", "B", "C", "D")
NLI = ("entailment", "neutral", "contradiction")
YES_NO = ("yes", "no", "maybe")


def score(choices: tuple[str, ...], answer: str, completion: str) -> float:
    return Choice("Answer:", choices).score(completion, (answer,))


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("C", "C"),
        ("C", "c"),
        ("C", "c."),
        ("C", "(C)"),
        ("C", "[c]"),
        ("C", "C)"),
        ("C", "C: a boat"),
        ("C", "C. a boat"),
        ("C", "**C**"),
        ("C", "`C`"),
        ("C", "“C”"),
        ("C", "『C』"),
        ("C", "Ｃ"),
        ("C", "Answer: **C**"),
        ("C", "Answer: C) a boat"),
        ("C", "Answer: (C) A boat"),
        ("C", "Answer: C, because a boat floats"),
        ("C", "Answer: option C"),
        ("C", "**Answer:** C"),
        ("C", r"\boxed{C}"),
        ("C", r"$\boxed{\text{C}}$"),
        ("C", r"First \boxed{B}. No: \boxed{C}"),
        ("C", "The answer is C because a boat floats."),
        ("C", "The correct answer is C—a boat floats."),
        ("C", "The answer is C. Note that A is a trap, and B too."),
        ("C", "The answer is (c)."),
        ("C", "A boat floats, so the answer is C."),
        ("C", "A boat floats (C)"),
        ("C", "A is wrong, and B isn't right either. C is correct."),
        ("C", "It is C, not B."),
        ("C", "C rather than D"),
        ("C", "C is right, D is wrong"),
        ("C", "A is too heavy. B sinks. So it must be C."),
        ("C", "Between A and C, I choose C."),
        ("C", "C. The answer is C."),
        ("C", "答案是C"),
        ("C", "选C"),
        ("C", "正确选项为（C）。"),
        ("C", "정답은 C입니다"),
        ("C", "Die Antwort ist C."),
        ("A", "A"),
        ("A", "A is correct"),
        ("A", "Answer: A dog"),
        ("A", "a)"),
    ],
)
def test_the_right_label_is_right(answer: str, completion: str) -> None:
    assert score(LETTERS, answer, completion) == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("D", "D'accord"),
        ("C", "C’est la vie"),
        ("C", "C++"),
        ("C", "C#"),
        ("C", "C-section"),
        ("C", "vitamin-C"),
        ("A", "a car moves"),
        ("A", "It is a car"),
        ("A", "ABBA"),
        ("A", "U.S.A."),
        ("B", "B or C"),
        ("C", "B or C"),
        ("B", "B, C"),
        ("B", "B/C"),
        ("B", "Both B and C"),
        ("B", "(B) or C"),
        ("B", "Answer: B and C"),
        ("C", "Answer: B or maybe C"),
        ("A", "A) cat B) dog C) boat D) tree"),
        ("B", "not B"),
        ("B", "B is not right"),
        ("B", "The answer is not B."),
        ("B", "A"),
        ("B", ""),
        ("B", "Answer:"),
    ],
)
def test_no_label_another_or_two_are_wrong(answer: str, completion: str) -> None:
    assert score(LETTERS, answer, completion) == 0.0


@pytest.mark.parametrize(
    ("choices", "answer", "completion"),
    [
        (NLI, "entailment", "Entailment."),
        (NLI, "entailment", "This is an entailment"),
        (NLI, "neutral", "neutral, for it says nothing of that"),
        (NLI, "neutral", "It is not an entailment but neutral"),
        (NLI, "neutral", "The label is *neutral*, not contradiction."),
        (YES_NO, "yes", "Yes, of course"),
        (YES_NO, "yes", "yes; there is no doubt"),
        (YES_NO, "no", "No. It isn't."),
        (("是", "否"), "是", "正确答案是“是”"),
        (("是", "否"), "否", "所以答案为否。"),
        (("不是", "是"), "不是", "这不是"),
        (("正面", "负面"), "负面", "这条评论是负面的"),
        (("はい", "いいえ"), "いいえ", "答えはいいえです"),
        (("ใช่", "ไม่ใช่"), "ไม่ใช่", "คำตอบคือไม่ใช่ครับ"),
        (("예", "아니요"), "예", "정답은 예입니다"),
        (("sim", "não"), "não", unicodedata.normalize("NFD", "Não.")),
        (("ja", "nein"), "nein", "Antwort: „Nein“"),
        (("да", "нет"), "да", "Ответ: да"),
        (("हाँ", "नहीं"), "हाँ", "हाँ"),
        (("نعم", "لا"), "نعم", "\u200fالجواب هو نعم\u200f"),
        (("straße", "weg"), "straße", "STRASSE"),
        (("York", "New York"), "New York", "new york"),
        (("C", "C++"), "C++", "I prefer C++."),
        (("1", "2", "3"), "2", "Option 2"),
    ],
)
def test_the_rows_own_words(choices: tuple[str, ...], answer: str, completion: str) -> None:
    assert score(choices, answer, completion) == 1.0


@pytest.mark.parametrize(
    ("choices", "answer", "completion"),
    [
        (NLI, "entailment", "no entailment"),
        (NLI, "entailment", "not an entailment"),
        (NLI, "entailment", "non-entailment"),
        (NLI, "entailment", "It isn't entailment"),
        (NLI, "entailment", "entailment or neutral"),
        (NLI, "neutral", "neutrality"),
        (("entailment",), "entailment", "not entailment"),
        (YES_NO, "yes", "yes and no"),
        (YES_NO, "yes", "yes, no"),
        (YES_NO, "yes", "yesterday"),
        (YES_NO, "no", "nothing"),
        (("是", "否"), "是", "不是"),
        (("是", "否"), "是", "是否"),
        (("ใช่", "ไม่"), "ใช่", "ไม่ใช่"),
        (("York", "New York"), "York", "New York"),
        (("1", "2", "3"), "2", "2.5"),
        (("1", "2", "3"), "2", "12"),
    ],
)
def test_denied_longer_or_several_words(
    choices: tuple[str, ...], answer: str, completion: str
) -> None:
    assert score(choices, answer, completion) == 0.0


def test_any_alternative_counts_and_all_of_them_together() -> None:
    reward = Choice("Answer:", ("York", "Eboracum", "Rome"))
    assert reward.score("Eboracum", ("York", "Eboracum")) == 1.0
    assert reward.score("York, or Eboracum", ("York", "Eboracum")) == 1.0
    assert reward.score("York, or Rome", ("York", "Eboracum")) == 0.0


def test_what_was_read_is_told() -> None:
    reward = Choice("Answer:", LETTERS)
    assert reward.read("Answer: B) a dog") == "b"
    assert reward.read("B or C") == "b and c"
    assert reward.read("42") == "none of the choices"


@given(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=5), st.sampled_from([", ", " or "]))
def test_a_label_is_right_only_alone(named: list[str], between: str) -> None:
    assert score(tuple("ABCDE"), "A", between.join(named)) == float(set(named) == {"A"})


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_text_and_any_choices_are_read(text: str, choices: list[str]) -> None:
    reward = Choice("Answer:", tuple(choices))
    assert reward.score(text, (choices[0],)) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("I would choose B over A.", "B"),
        ("B fits better than A.", "B"),
        ("I rule out A. D is silly, having ruled out C. It must be B.", "B"),
        ("<think>It may be A.</think>B", "B"),
        ("### Final answer\nB", "B"),
        ("## Step 1: Look at A\nA is wrong.\n## Answer\n**B**", "B"),
    ],
)
def test_what_is_compared_thought_or_headed_is_no_answer(completion: str, right: str) -> None:
    assert score(tuple("ABCD"), right, completion) == 1
    assert score(tuple("ABCD"), "A", completion) == 0


def test_no_before_a_noun_is_no_answer_beside_one() -> None:
    said = {"There is no evidence, so yes.": "yes", "Yes, with no doubt.": "yes"}
    said |= {"Yes, no problem.": "yes"}
    said |= {"The answer is no, because it fell.": "no", "No evidence supports it.": "no"}
    assert [score(("yes", "no"), right, text) for text, right in said.items()] == [1] * len(said)
