"""Two answers side by side are none, and one that is taken back is none; one that is chosen is."""

from __future__ import annotations

import pytest

from trials.matching.choices import Choice
from trials.matching.numeric import Numeric

LETTERS = Choice("Answer:", ("A", "B", "C", "D"))
YES_NO = Choice("Answer:", ("yes", "no"))
NLI = Choice("Answer:", ("entailment", "neutral", "contradiction"))
NUMERIC = Numeric("Answer:")


@pytest.mark.parametrize(
    "completion",
    [
        *("A B", "A\nB", "A\n\nB\nC", "A vs B", "A versus B", "A maybe B", "A, maybe B", "A|B"),
        *("**A** **B**", "*A* or *B*", "`A` `B`", "A? B?", "A! B!", "A... B", "A - B", "(A) (B)"),
        *("A B C D", "A/B/C/D", "- A\n- B", "A or else B", "It could be A or it could be B"),
        *("a b", "a or b", "Answer: a/b", "(a) (b)", "A alternatively B"),
        *("Maybe A. Maybe B.", "The answer is A. Or the answer is B.", "A oder B", "A 或 B"),
        *(
            "Answer: A (or B)",
            "Answer: A (B)",
            "Answer: A. B.",
            "Answer: A! B!",
            "Answer: A. Or B.",
        ),
        *("Answer: A or Answer: B", "The answer is A or the answer is B.", "I choose A. B."),
        *(
            r"\boxed{A} or \boxed{B}",
            r"$\boxed{A}$ \text{ or } $\boxed{B}$",
            r"\boxed{A}, \boxed{B}",
        ),
    ],
)
def test_labels_side_by_side_are_no_answer(completion: str) -> None:
    assert [LETTERS.score(completion, (label,)) for label in "ABCD"] == [0] * 4


@pytest.mark.parametrize(
    ("reward", "completion"),
    [
        *((YES_NO, text) for text in ("Yes! No!", "yes no", "yes? no?", "Answer: yes (or no)")),
        *((NLI, text) for text in ("neutral contradiction", "It is neutral. Or contradiction.")),
    ],
)
def test_words_side_by_side_are_no_answer(reward: Choice, completion: str) -> None:
    assert [reward.score(completion, (word,)) for word in reward.choices] == [0] * len(
        reward.choices
    )


@pytest.mark.parametrize(
    "completion",
    [
        *("A is wrong, so the answer is B", "A or B? B.", "A? No, B.", "Comparing with A, it is B"),
        *("Answer: A! No wait, B.", "Answer: A. Actually, it's B.", "Answer: A, sorry, B"),
        *("Answer: A - scratch that, B", "A, no, B", "A. Wait, the answer is B", "A, or rather B"),
        *("Answer: B. A, C and D are wrong.", "Answer: B. A, C and D do not float."),
        *(
            "Answer: B. A dog floats.",
            "The answer is B. Note C.",
            "Not A. B.",
            "The correct option is B. Wait, A?",
            "Look at A!\n\n**B**",
            "It's not A or C. It's B.",
            "B\nB",
            "B. B.",
        ),
        *("Perhaps the answer is B", "The answer is A? No, the answer is B.", "Not sure, maybe B"),
        *(r"First \boxed{A}, but then \boxed{B}", "A or the like is no option; the answer is B"),
    ],
)
def test_what_is_chosen_at_last_is_the_answer(completion: str) -> None:
    assert [LETTERS.score(completion, (label,)) for label in "ABCD"] == [0, 1, 0, 0]


@pytest.mark.parametrize("completion", ["vitamin C helps", "37 °C", "20°C", "Hepatitis C spreads"])
def test_a_letter_that_is_part_of_a_name_or_unit_is_no_label(completion: str) -> None:
    assert LETTERS.read(completion) == "none of the choices"


@pytest.mark.parametrize(
    "completion",
    [
        *("x=5 or x=6", "$x=5$ or $x=6$", "x=5, x=6", "x = 5 and x = 6", "x=5 or 6", "5 vs 6"),
        *("The answer is 5 or the answer is 6", "The answer is 5. Or the answer is 6."),
        *(
            "It is 5 or it is 6.",
            "It is 5. Or 6.",
            "5\n6",
            "5. 6.",
            "5? 6?",
            "Answer: 5 vs 6",
            "Answer: 5 vs. 6",
        ),
        *("Answer: 5. 6.", "Answer: 5! 6!", "Answer: 5. Or 6.", "Answer: 5! No wait, 6."),
        *(
            "Answer: 5 apples 6 pears",
            "Answer: 5 apples and 6 pears",
            "Answer: 5 cats. 6 dogs.",
            "Answer: 5 km 6 m",
        ),
        *("Answer: 5 or Answer: 6", r"\boxed{5} or \boxed{6}", r"\boxed{5}\boxed{6}"),
        *(r"\boxed{5} and \boxed{6}", r"$\sqrt{25}$ or $\sqrt{36}$"),
        *("5 != 6", "5 ≠ 6", r"5 \neq 6", "Answer: >6", "Answer: <5", "Answer: ≥ 6", "x is > 6"),
        *("6i", "Answer: 5i", "5 + 6i"),
    ],
)
def test_two_numbers_a_bound_or_an_imaginary_one_are_no_answer(completion: str) -> None:
    assert [NUMERIC.score(completion, (number,)) for number in "56"] == [0, 0]


@pytest.mark.parametrize(
    "completion",
    [
        *("x = 2+4, so x=6", "x = 5+1 = 6", "x=5 is wrong, so x=6", "2x = 12, x = 6"),
        *("x = 6 or x = 6.0", "6\n6", "3\n+ 3\n= 6", r"\boxed{6}. Again: \boxed{6}"),
        *(r"\boxed{5}, no, \boxed{6}", "Is it 5 or 6? It is 6.", "Perhaps the answer is 6"),
        *("There are 5 or more; the answer is 6", "Answer: 6 of 8 apples", "Answer: 6 (six)"),
        *("Answer: 6. Actually, I checked it 2 times.", "6 i think", "-> 6", "> 6", "<b>6</b>"),
        *("Answer: 6. 6 > 5.", "Answer: 6 so 5 more"),
        *("7 > 5 but there are 6.", "30 - 24\n6", "6 > 5\n\n**6**"),
        *("Answer: 6 km (6000 m)", "Now 5 pears. Perhaps the answer is 6."),
    ],
)
def test_steps_and_remarks_leave_the_number_alone(completion: str) -> None:
    assert NUMERIC.score(completion, ("6",)) == 1


def test_or_joins_what_follows_two_markers() -> None:
    reward = Choice("####", ("A", "B"))
    assert reward.read("#### A or #### B") == reward.read("#### A\nor #### B") == "a and b"
    assert reward.read("#### A\n#### B") == "b"


def test_lists_that_are_right_stay_right() -> None:
    assert NUMERIC.score(r"\boxed{5}, \boxed{6}", ("5, 6",)) == 1
    assert NUMERIC.score("x = 5 or x = 6", ("x=5 or x=6",)) == 1
    assert LETTERS.score("A or B", ("A", "B")) == 1


@pytest.mark.parametrize(
    ("answer", "completion", "right"),
    [
        *(("5", text, 0) for text in ("$5!$", r"\(5!\)", "Answer: $5!$", r"\boxed{5!}")),
        *(("120", text, 1) for text in ("$5!$", r"\(5!\)", r"\boxed{5!}")),
        *(("n", "$n!$", 0), ("n!", "$n!$", 1), ("5", "5!", 1), ("5", "$5$!", 1)),
    ],
)
def test_a_factorial_is_not_its_number(answer: str, completion: str, right: int) -> None:
    assert NUMERIC.score(completion, (answer,)) == right
