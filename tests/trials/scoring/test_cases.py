"""Further pairs of answer and completion, each of a kind that was once scored otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from trials.dataset import Dataset, DatasetCard, Row
from trials.rewards import build_reward

LETTERS = ["A", "B", "C", "D"]


def score(kind: str, answer: str, completion: str, choices: list[str] | None = None) -> float:
    """As a trial scores it: through a card, and with the row."""
    args = {"choices": choices or LETTERS} if kind == "choice" else {}
    row = Row([{"role": "user", "content": "?"}], [], answer, {})
    card = DatasetCard(reward=kind, reward_args=args)
    dataset = Dataset(Path("memory"), card, "", {"train": [row]}, False)
    return build_reward(dataset)(completion, row)


@pytest.mark.parametrize(
    ("answer", "completion", "expected"),
    [
        ("18", "So she makes 9 * 2 = $<<9*2=18>>18 every day.", 1),
        ("18", "She makes $18 every day at the market.", 1),
        ("9", "= 9", 1),
        ("9", "≈ 9", 1),
        ("9", "9th", 1),
        ("9", "9<|im_end|>", 1),
        ("9", "```\n9\n```", 1),
        ("9", r"\boxed{x=9}", 1),
        ("9", r"\boxed{\textbf{9}}", 1),
        ("9", "𝟗", 1),
        ("9", "⑨", 1),
        ("9", "9 = y", 1),
        ("9", "4 + 5", 1),
        ("9", "9 m^2", 1),
        ("9", "9 cm²", 1),
        ("9", r"9 \text{ km}^2", 1),
        ("9", "9, 9", 1),
        ("720", "$6!$", 1),
        ("6", "6!", 1),
        ("7/4", r"1 \frac{3}{4}", 1),
        ("1e-5", r"10^{-5}", 1),
        (r"\pi", r"$\pi$", 1),
        ("9", "±9", 0),
        ("9", r"x = \pm 9", 0),
        ("9", "x = 9 or x = -9", 0),
        ("9", "x = 9, y = 4", 0),
        ("9", "between 8 and 10", 0),
        ("9", "8 to 9", 0),
        ("9", "1:9", 0),
        ("9", "B9", 0),
        ("9", "9x^2", 0),
        ("1/2", "1:2", 0),
        ("11/2", "1 1/2", 0),
        ("100000000000000000000000000001", "100000000000000000000000000002", 0),
    ],
)
def test_numeric(answer: str, completion: str, expected: float) -> None:
    assert score("numeric", answer, completion) == expected


@pytest.mark.parametrize(
    ("answer", "completion", "expected"),
    [
        ("B", "Ⓑ", 1),
        ("B", "B – a dog", 1),
        ("B", "Answer: B. A dog", 1),
        ("B", "Not A, but B", 1),
        ("B", "Neither A nor C; B", 1),
        ("B", r"\boxed{\textbf{(B)}}", 1),
        ("D", "D. All of A, B and C", 1),
        ("A", "The answer is a", 1),
        ("A", "The answer is a dog", 0),
        ("A", "A dog is an animal", 0),
        ("A", "à", 0),
        ("B", "В", 0),  # a Cyrillic letter
        ("B", "B's", 0),
        ("B", "It is not the case that B", 0),
        ("B", "I don't think it's B", 0),
        ("B", "anything but B", 0),
    ],
)
def test_choice(answer: str, completion: str, expected: float) -> None:
    assert score("choice", answer, completion) == expected


@pytest.mark.parametrize(
    ("choices", "answer", "completion", "expected"),
    [
        (["entailment", "not_entailment"], "not_entailment", "not_entailment", 1),
        (["entailment", "not_entailment"], "entailment", "not_entailment", 0),
        (["entailment", "not entailment"], "not entailment", "It is not entailment.", 1),
        (["True", "False"], "True", "not true", 0),
        (["True", "False"], "False", "This is false, not true.", 1),
        (["对", "错"], "对", "不对", 0),
        (["ถูก", "ผิด"], "ถูก", "คำตอบถูกต้อง", 1),
        (["ถูก", "ผิด"], "ถูก", "ไม่ถูก", 0),
    ],
)
def test_words(choices: list[str], answer: str, completion: str, expected: float) -> None:
    assert score("choice", answer, completion, choices) == expected


UNITS = ["1 ", "1,", "$1", "1 2 ", "±1 ", "1^", "A ", "A or ", "not A ", "\\boxed{", "*", "a "]
UNITS += ["A? ", "x=1 or ", "\\boxed{1} or ", "Answer: 1 or ", "the answer is A or ", "1 cat "]
UNITS += ["A no wait ", "or ", "maybe the ", "A maybe the ", ".,", "\\(1!"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["numeric", "choice", "exact_match"])
def test_reading_takes_time_in_proportion_to_the_text(kind: str, unit: str) -> None:
    begin = time.process_time()
    score(kind, "3" if kind == "numeric" else "A", unit * (20_000 // len(unit)))
    assert time.process_time() - begin < 2
