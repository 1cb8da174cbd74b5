"""`numeric`: what models really write, scored as a person would score it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.matching.maths import CPU_SECONDS, expressions_equal
from trials.matching.numeric import Numeric, is_readable_answer, parse_number

NUMERIC = Numeric("Answer:")


def score(answer: str, completion: str) -> float:
    return NUMERIC.score(completion, (answer,))


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        # Markdown, quotes, code, labels
        ("17", "**17**"),
        ("17", "Answer: *17*"),
        ("17", "__17__"),
        ("17", "**Answer:** 17"),
        ("17", "**Answer**: 17"),
        ("17", "### Answer: `17`"),
        ("17", "answer: 17."),
        ("17", "Answer：17"),
        ("17", "“17”"),
        ("17", "«17»"),
        ("17", "„17“"),
        ("17", "So the final answer is 17, as 8 + 9 makes 17."),
        ("17", "Final Answer: The result is **17** apples."),
        ("17", "#### 17"),
        ("17", "First 8, then 9.\n#### 17"),
        ("17", "Antwort: 17"),
        ("17", "答案是17"),
        ("17", "正确答案为 17。"),
        ("17", "Réponse : 17"),
        ("17", "<answer>17</answer>"),
        # Signs and digits of every kind
        ("-8", "−8"),
        ("-8", "–8"),
        ("-8", "－８"),
        ("-8", "‑8"),
        ("-8", "(-8)"),
        ("-8", "( −8 )"),
        ("-8", "minus 8"),
        ("-8", "The answer is -8"),
        ("8", "+8"),
        ("45", "٤٥"),
        ("45", "४५"),
        ("45", "４５"),
        ("4.5", "٤٫٥"),
        ("1234", "١٬٢٣٤"),
        ("45", "\u200f45\u200e"),
        # Fractions and mixed numbers
        ("3/4", "¾"),
        ("0.75", "3/4"),
        ("3/4", "3 / 4"),
        ("3/4", "3⁄4"),
        ("2.5", "2½"),
        ("2.5", "2 ½"),
        ("5/2", "2 1/2"),
        ("-3/2", "-1 1/2"),
        ("-0.5", "-½"),
        ("3/4", r"\dfrac{3}{4}"),
        ("3/4", r"$\tfrac{3}{4}$"),
        ("3/4", r"\frac34"),
        ("-3/4", r"-\frac{3}{4}"),
        ("7/4", r"1\frac{3}{4}"),
        ("1/3", "0.333333"),
        # Exponents
        ("2500", "2.5e3"),
        ("2500", "2.5E+3"),
        ("0.00002", "2e-5"),
        ("2e-5", "0.00002"),
        ("3.1e8", r"3.1 \times 10^{8}"),
        ("3.1e8", r"$3.1 \cdot 10^8$"),
        ("3.1e-8", "3.1 × 10⁻⁸"),
        ("3.1e8", "3.1*10**8"),
        ("1024", "2^10"),
        ("1e5", "10^5"),
        ("100000", "10⁵"),
        # Thousands and decimals of several countries
        ("9876543", "9,876,543"),
        ("9876543", "9 876 543"),
        ("9876543", "9\u2009876\u2009543"),
        ("9876543", "9\u202f876\u202f543"),
        ("9876543", "9.876.543"),
        ("9876543", "9'876'543"),
        ("9876543", "9’876’543"),
        ("9876543", "98,76,543"),
        ("9876543", "9_876_543"),
        ("9876543", r"9{,}876{,}543"),
        ("1234.5", "1.234,5"),
        ("1234.5", "1 234,5"),
        ("1234.5", "1,234.50"),
        ("0.25", "0,25"),
        ("0.125", "0,125"),
        ("0.5", ".5"),
        # Money, units, percent
        ("18", r"\$18"),
        ("18", "€18"),
        ("18", "18 €"),
        ("18", "18 dollars"),
        ("-18", "-$18"),
        ("1200", "$1,200.00"),
        ("5", "5km"),
        ("5", "5 km (5000 m)"),
        ("90", r"90^\circ"),
        ("90", "90°"),
        ("0.35", "35%"),
        ("35%", "0.35"),
        ("35", r"35\%"),
        ("35", "35 percent"),
        # LaTeX around it, the last box, an equation
        ("42", r"$42$"),
        ("42", r"$$42$$"),
        ("42", r"\[42\]"),
        ("42", r"\boxed{42}"),
        ("42", r"$\boxed{\text{42}}$"),
        ("42", r"\boxed{42\text{ cm}}"),
        ("1/2", r"\boxed{\frac{1}{2}}"),
        ("42", r"\boxed{7}, so in the end \boxed{42}"),
        ("42", r"Answer: \boxed{42}"),
        ("42", "x = 42"),
        ("42", "6 * 7 = 42"),
        ("42", "$x=42$"),
        ("4", r"$\sqrt{16}$"),
        ("-0.0", "0"),
        # The same answer stated twice, and more said about one
        ("42", "42. Yes, 42!"),
        ("42", "Answer: 42 (not 43)"),
        ("42", "The answer is 42. I checked it 3 times."),
        ("7", "She has 3 cats and 4 dogs, so 7 animals."),
        ("7", "3 and 4 is 7."),
        # Formulas
        (r"\frac{\sqrt{2}}{2}", r"$\frac{1}{\sqrt{2}}$"),
        (r"3\pi", r"\boxed{3\pi}"),
        ("x^2-1", "$(x-1)(x+1)$"),
        ("1,2,3", "1, 2, 3"),
        (r"\{1,2\}", r"$\{2,1\}$"),
        ("3:1", "3:1"),
        ("12:00", "12:00"),
        ("(1,2)", "(1, 2)"),
        ("7", "(" * 3_000 + "7" + ")" * 3_000),
        # A part and its whole
        ("42", "He has 42 left of the 50."),
        ("42", "So 42 apples of his original 50 remain"),
        ("8", "42 of the 50 were sold, so 8 are left"),
    ],
)
def test_the_right_number_is_right(answer: str, completion: str) -> None:
    assert score(answer, completion) == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("17", "17 or 18"),
        ("18", "17 or 18"),
        ("17", "17, 18"),
        ("17", "17 and 18"),
        ("18", "Answer: 17, no, 18"),
        ("17", "Answer: either 17 or 18"),
        ("17", r"\boxed{17} or rather \boxed{18}"),
        ("8", "-8"),
        ("-8", "8"),
        ("8", "not 8"),
        ("15", "15:30"),
        ("30", "15:30"),
        ("2024", "2024-05-06"),
        ("5", "5/6/2024"),
        ("1.2", "1.2.3"),
        ("34", "3,4"),
        ("3", "3,4"),
        ("345", "3,4,5"),
        ("2", "H2O"),
        ("1000", "1.000"),
        ("1", "1e4"),
        ("4", "1e4"),
        ("1", "1e400000000"),
        ("10", "10^5"),
        ("105", "10⁵"),
        ("3.1", r"3.1 \times 10^{8}"),
        ("1", "1/2"),
        ("2", "1/2"),
        ("21/2", "2½"),
        ("1/3", "0.33"),
        ("2e-9", "1e-9"),
        ("0.5", "0.5%"),
        ("35%", "0.035"),
        ("5 km", "5 m"),
        ("$5", "€5"),
        ("42", "forty"),
        ("42", ""),
        ("42", "Answer:"),
        ("42", "no idea"),
        (r"3\pi", "3"),
        ("(1,2)", "(2, 1)"),
        ("1,2,3", "1,2,4"),
        ("50", "He has 42 left of the 50."),
        ("42", "It is 42, or half of the 80"),
    ],
)
def test_another_number_is_wrong(answer: str, completion: str) -> None:
    assert score(answer, completion) == 0.0


ENDLESS = [
    "$88888888!$",
    "((5!)!)!",
    "$(9999)!$",
    r"$\binom{90000000}{45000000}$",
    r"\dbinom{100000}{50000}",
    r"$8^{8888\cdot8888\cdot88}$",
    "7^7^7^7",
    "7**7**7",
    "7^{7 ^ 7}",
    "7^77777777777",
    "(7^7)^7777777",
    r"$7^{7^{7^7}}$",
    r"$\sum_{k=1}^{999999999} k!$",
    r"$\prod_{k=1}^{99999999} (k+\sqrt{k})$",
    r"$(x+y+z)^{900}$",
    "7" * 6_000,
    f"1/{'7' * 6_000}",
]


# review fault 1
@pytest.mark.parametrize("completion", ENDLESS)
def test_what_cannot_be_worked_out_is_wrong_and_takes_no_time(completion: str) -> None:
    """Math-verify worked these out for hours, with its time limits off."""
    begin = time.process_time(), time.monotonic()
    assert score("7", completion) == 0.0
    assert time.process_time() - begin[0] < 5
    assert time.monotonic() - begin[1] < 30 * CPU_SECONDS


# review fault 1
def test_what_ends_the_child_leaves_the_next_comparison_alone() -> None:
    """The limit is the system's, and a new process answers what comes next."""
    assert not expressions_equal("$7$", r"$\sum_{k=1}^{999999999} \frac{k!}{2}$")
    assert expressions_equal("$7$", r"$\sqrt{49}$")


@pytest.mark.parametrize(
    ("answer", "readable"),
    [
        ("12", True),
        ("-01", True),
        ("1/2", True),
        ("1,2,3", True),
        (r"\sqrt{2}", True),
        ("x+1", True),
        ("5" * 900, True),
        ("twelve", False),
        ("N/A", False),
        ("9^9^9^9", False),
        ("", False),
    ],
)
def test_answers_that_something_could_equal(answer: str, readable: bool) -> None:
    assert is_readable_answer(answer) is readable


def test_any_alternative_counts() -> None:
    assert NUMERIC.score("it is 0.5", ("1/3", "1/2")) == 1.0
    assert NUMERIC.score("it is 0.4", ("1/3", "1/2")) == 0.0


@pytest.mark.parametrize(
    ("completion", "read"),
    [("Answer: 1,200 km", "1200"), ("3 or 4", "3 and 4"), ("none", "no number"), ("½", "1/2")],
)
def test_what_was_read_is_told(completion: str, read: str) -> None:
    assert NUMERIC.read(completion) == read


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_a_number_is_itself_in_every_notation(value: object) -> None:
    plain = format(value, "f")  # type: ignore[str-bytes-safe]
    assert score(plain, plain) == 1.0
    assert score(plain, f"Answer: **{plain.replace('-', '−')}**") == 1.0


@given(st.integers(-(10**12), 10**12))
def test_neighbours_are_not_equal(value: int) -> None:
    assert score(str(value), f"{value + 1:,}") == 0.0
    assert score(f"{value:,}", str(value)) == 1.0


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert score("3", text) in (0.0, 1.0)
    parse_number(text)


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        # A number in a formula is not the formula.
        (r"2\sqrt{3}", r"\sqrt{12}", ("2", r"2\sqrt{5}", "2*sqrt(5)")),
        ("2*sqrt(3)", r"$2\sqrt3$", ("2", "2*sqrt(5)", "3")),
        ("3x", "3*x", ("3", "3y")),
        ("3 + x", "x + 3", ("3", "3 + y")),
        ("5", "5", ("5n", "5 + y", "y - 5", "x > 5")),
        ("3 pi", r"3\pi", ("3", "4 pi")),
        ("ln 2", r"\ln 2", ("2", "ln 3")),
        ("x > 3", "x>3", ("3", "x < 3", "x >= 3")),
        ("x^2", "x**2", ("2", "x")),
        ("n!", "n!", ("n",)),
        (r"\infty", "∞", ("8",)),
        ("x = 3, y = 4", "x=3, y=4", ("3", "4", "x = 4, y = 3")),
        ("2 hours 30 minutes", "2 hours 30 minutes", ("2", "30", "2 hours")),
        # Words of size, signs before brackets, what floating-point numbers add
        ("2500000", "2.5 million", ("2.5", "2.5 billion")),
        ("2.5", "2.5 million", ("2500000",)),
        ("30000", "3万", ("3",)),
        ("-3/4", "-(3/4)", ("3/4",)),
        ("9.000000000000001e-09", "0.000000009", ("0.000000008",)),
        ("0.3", "0.30000000000000004", ("0.3000000001",)),
        ("6", "It is 6 rather than 7.", ("It is 7 rather than 6.",)),
    ],
)
def test_a_formula_or_a_number_and_nothing_like_it(
    answer: str, right: str, wrong: tuple[str, ...]
) -> None:
    assert score(answer, right) == score(answer, f"Answer: {right}") == 1
    assert [score(answer, f"{before}{each}") for each in wrong for before in ("", "Answer: ")] == (
        [0.0] * 2 * len(wrong)
    )


@pytest.mark.parametrize(
    "completion",
    [
        "### Final Answer\n42",
        "**Final answer**\n\n42\n\n**Explanation**\n6 times 7.",
        "## Step 1: Multiply\n6 * 7 = 42",
        "### 1. Multiply\n6 * 7 = 42",
        "6 * 7 = 42\n\nI hope this helps!",
        "<think>maybe 41?</think>42",
        "<think>Answer: 41</think>\n<answer>\n42\n</answer>",
    ],
)
def test_headings_thoughts_and_kind_words_are_no_answer(completion: str) -> None:
    assert score("42", completion) == 1
    assert score("1", completion) == score("41", completion) == 0
