"""Further pairs of answer and completion, each of a kind that was once scored otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from trials.data.dataset import Dataset, DatasetCard, Row
from trials.scoring.rewards import build_reward

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


@pytest.mark.parametrize(
    "completion",
    [
        *("**Answer:**\n16", "~~15~~ 16", "Answer: ~~15~~ 16", "So 4^2 is 16.", "4 * 4 is 16"),
        *("16, which is 4^2", "The answer is 16, which is 2^4.", "Answer: 16, i.e. 4^2"),
        *("The answer is 4^2, which is 16.", "The answer is 16 or equivalently 4^2."),
        *("The answer is 16 (4 times 4).", "She has 16 in all (10 red, 6 blue)."),
        *("Thus, Tom has **16** marbles left after giving away 8 of 24.", "16 (17 with the lid)"),
        *("Answer: There are 16 balls in the 4 boxes.", "By 2030, she will be 16."),
        *("She will be 16 years old in 2030.", "12 and 4 loose ones give 16 pencils in total."),
        "The answer is 16, no matter which of the 2 methods you use.",
        "The total is 16, and it takes 4 steps to get there.",
        *("He spent $4 of the $20, leaving $16.", "15.6, rounded up to 16", "It cannot be 15: 16"),
        *("x = 16\n\nCheck: 16 + 4 = 20", "So the total is 16. To verify: 20 - 16 = 4."),
        "16\n\nIt is the square of 4.",
        *(
            "小明有16个苹果。",
            "总共有16元",
            "原来有20个，吃了4个，还剩16个。",
            "共16个（其中5个红）",
        ),
        *("第一步：4+4=8。第二步：8+8=16。", "총16개", "合計で16個です", "第3题：16"),
    ],
)
def test_a_number_in_what_models_write(completion: str) -> None:
    wrong = ("15", "4", "20", "8", "17", "2", "5", "3")
    assert score("numeric", "16", completion) == 1
    assert [score("numeric", each, completion) for each in wrong] == [0] * len(wrong)


@pytest.mark.parametrize(
    "completion",
    [
        *("7 أو 8", "7 または 8", "7 또는 8", "7 veya 8", "7 lub 8", "7 หรือ 8", "7或8", "7か8"),
        *("more than 7", "Answer: less than 8", "It cannot be 7.", "不是7", "~~7~~", "~~8~~"),
        *("**7** or 8", "**7** and **8**", "7 (or 8)", "7 (maybe 8)", "7 (8)", "7\n\nor 8"),
        *("Tom has **7** apples and Ann has **8**.", "7 or about 8"),
        *("Answer: x is 7 and y is 8", "Answer: 7! 8!", "共7盒8个"),
    ],
)
def test_two_numbers_or_a_denied_one_are_no_answer(completion: str) -> None:
    assert score("numeric", "7", completion) == score("numeric", "8", completion) == 0


@pytest.mark.parametrize(
    ("completion", "right", "wrong"),
    [
        (r"\frac{1}{3} \approx 0.33", ("1/3", "0.33"), ("0.3", "0.34")),
        ("2/3 = 0.667", ("2/3", "0.667"), ("0.66",)),
        ("The probability is 2/3, or about 66.7%.", ("2/3", "66.7%"), ("0.66", "1/3")),
        ("12.6 ≈ 13", ("13",), ()),
        ("3.1 or 3.14", (), ("3.1", "3.14")),
        ("1/3 or 0.33", (), ("1/3", "0.33")),
        ("$12k", ("12000",), ("1200",)),
        ("2.5M", ("2500000", "2.5"), ("2500",)),
    ],
)
def test_a_rounded_number_is_what_it_is_about(
    completion: str, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    assert [score("numeric", each, completion) for each in right] == [1] * len(right)
    assert [score("numeric", each, completion) for each in wrong] == [0] * len(wrong)


@pytest.mark.parametrize(
    "completion",
    [
        *("**Answer:**\nB", "B\n\nExplanation: A is wrong because it sinks, C flies, D burns."),
        "Option A sinks. Option C sinks. Option D sinks. Only option B floats.",
        "Option A sinks, option C sinks and option D sinks, so it is option B.",
        *("We can eliminate A and D. C is too heavy, which leaves B.", "Ruling out A and C, B."),
        *("Comparing A and B, B is better.", "It can't be A, C, or D. It's B."),
        *("The answer is B; A is a distractor.", "It's either A or B. Since A sinks, it's B."),
        *("It is B; A, C and D are wrong.", "It's B, as A is too small and C is too large."),
        *(
            "B is true; A, C, D are false",
            "选项A错误，选项B正确，选项C错误。",
            "الإجابة هي B وليس A",
        ),
        *("B) Boat\n\nA car (A) sinks; a stone (C) too.", "I say **B**, for A and C sink."),
    ],
)
def test_a_label_in_what_models_write(completion: str) -> None:
    assert [score("choice", each, completion) for each in LETTERS] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "completion",
    [
        *("It's A or it's B", "It's A, maybe it's B", "It is A and it is B", "only A or only B"),
        *("A; B is also correct", "A, B are right", "A and B are wrong", "**A** or **B**"),
    ],
)
def test_two_labels_or_denied_ones_are_no_answer(completion: str) -> None:
    assert [score("choice", each, completion) for each in LETTERS] == [0] * 4


@pytest.mark.parametrize(
    "completion",
    [
        *("**Answer:** Paris", "**Answer:**\nParis", "**Answer: Paris**", "*Answer:* Paris"),
        *("__Answer:__ Paris", "- **Answer:** **Paris**", "**Answer:**\n\n**Paris**"),
    ],
)
def test_emphasis_around_the_marker(completion: str) -> None:
    assert score("exact_match", "Paris", completion) == 1


def test_a_board_of_marks_is_no_emphasis() -> None:
    assert score("exact_match", "_ _\n1 _", "Answer: _ _\n1 _") == 1


UNITS = ["1 ", "1,", "$1", "1 2 ", "±1 ", "1^", "A ", "A or ", "not A ", "\\boxed{", "*", "a "]
UNITS += ["A? ", "x=1 or ", "\\boxed{1} or ", "Answer: 1 or ", "the answer is A or ", "1 cat "]
UNITS += ["A no wait ", "or ", "maybe the ", "A maybe the ", ".,", "\\(1!", "1 of the 2 "]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["numeric", "choice", "exact_match"])
def test_reading_takes_time_in_proportion_to_the_text(kind: str, unit: str) -> None:
    def seconds(characters: int) -> float:
        begin = time.process_time()
        score(kind, "3" if kind == "numeric" else "A", unit * (characters // len(unit)))
        return time.process_time() - begin

    # In proportion it takes 5 times as long, with the square of the length 25 times. On a busy
    # machine a single measurement may be off, and three are not.
    assert any(seconds(10_000) < 10 * seconds(2_000) + 0.2 for _ in range(3))
