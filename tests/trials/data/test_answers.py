"""The gate for right answers: texts, finite numbers or alternatives; the rest is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import sums, write_dataset, write_rows
from trials.data.answers import infer_reward, read_answers
from trials.data.dataset import fingerprint, load_dataset
from trials.io.errors import DatasetError, RowLocation
from trials.matching.numeric import Numeric, is_readable_answer
from trials.scoring.rewards import build_reward

LOCATION = RowLocation(Path("rows.jsonl"), 7)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("Oslo", ("Oslo",)),
        ("  Oslo\n", ("Oslo",)),
        (3, ("3",)),
        (-2.5, ("-2.5",)),
        (0.000001, ("0.000001",)),
        (2.5e-07, ("0.00000025",)),
        (1e22, ("10000000000000000000000",)),
        (["Oslo", "Kristiania", "Oslo"], ("Oslo", "Kristiania")),
        ([0.5, "1/2"], ("0.5", "1/2")),
        ("So 8 + 9 = 17\n#### 17", ("17",)),
        (["#### 17", "#### 17.0"], ("17", "17.0")),
        (r"\boxed{17}", ("17",)),
        (r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}",)),
        (r"\boxed{5}, \boxed{6}", (r"\boxed{5}, \boxed{6}",)),
    ],
)
def test_answers_are_texts(value: Any, texts: tuple[str, ...]) -> None:
    assert read_answers(value, "####", LOCATION) == texts


def test_a_box_as_marker_ends_the_answer() -> None:
    assert read_answers(r"So it is $\boxed{\frac{1}{2}}$. Done.", r"\boxed{", LOCATION) == (
        r"\frac{1}{2}",
    )


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        float("nan"),
        float("inf"),
        {"text": ["Oslo"]},
        [["Oslo"]],
        ["Oslo", None],
        ["Oslo", False],
        [],
        ["Oslo", " "],
        "so it is ####",
        ["Oslo"] * 1_001,
    ],
)
def test_what_is_no_answer_is_refused_with_its_line(value: Any) -> None:
    with pytest.raises(DatasetError, match=r"rows\.jsonl:7: .*\n  expected: "):
        read_answers(value, "####", LOCATION)


def test_a_file_with_such_an_answer_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    rows = [*sums(3, 90), {"prompt": "new", "completion": "4", "answer": {"text": "4"}}]
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(DatasetError, match=r"train\.jsonl:4: the answer is \{'text': '4'\}"):
        load_dataset(tmp_path)


def test_alternatives_reach_the_reward_and_its_choices(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}?", "completion": c, "answer": a}
        for n, (c, a) in enumerate([("York", ["York", "Eboracum"]), ("Rome", "Rome")] * 3)
    ]
    write_rows(tmp_path / "train.jsonl", rows)
    for split in ("validation", "test"):
        other = [{**row, "prompt": f"{split} {row['prompt']}"} for row in rows]
        write_rows(tmp_path / f"{split}.jsonl", other)
    dataset = load_dataset(tmp_path)
    assert dataset.card.reward == "choice"
    row = dataset.splits["train"][0]
    assert row.answers == ("York", "Eboracum")
    reward = build_reward(dataset)
    assert [reward(text, row) for text in ("Eboracum", "York", "Rome")] == [1.0, 1.0, 0.0]


def test_the_marker_is_applied_to_answers_before_the_reward_is_inferred(tmp_path: Path) -> None:
    write_dataset(tmp_path, card="answer_marker: '####'\n")
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (tmp_path / f"{split}.jsonl").open()]
        solved = [{**row, "answer": f"It is so.\n#### {row['answer']}"} for row in rows]
        write_rows(tmp_path / f"{split}.jsonl", solved)
    before = fingerprint(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.card.reward == "numeric"
    row = dataset.splits["train"][0]
    assert build_reward(dataset)(f"so\n#### {row.answer}", row) == 1.0
    assert dataset.fingerprint == before


def test_code_of_the_user_gets_answers_whole(tmp_path: Path) -> None:
    write_dataset(tmp_path, card="reward: my_code:score\nanswer_marker: '####'\n")
    rows = [{"prompt": "new", "completion": "4", "answer": "so\n#### 4"}]
    write_rows(tmp_path / "train.jsonl", rows)
    assert load_dataset(tmp_path).splits["train"][0].answer == "so\n#### 4"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["1,200", "−3", "2.5e-4", "1/2", "50%", "$18"], "numeric"),
        (["A", "B"], "choice"),
        (["否", "是"], "choice"),
        (["2024-05-06", "2024-05-07"], "choice"),
        (["12:30", "3"], "choice"),
        ([f"word {n}" for n in range(20)], "exact_match"),
        ([rf"\frac{{1}}{{{n}}}" for n in range(2, 30)], "numeric"),
        ([rf"${n}\sqrt{{2}}$" for n in range(2, 30)] + ["7", "1/2"], "numeric"),
        ([rf"x^{{{n}}}" for n in range(2, 30)], "exact_match"),
        ([rf"\text{{word {n}}}" for n in range(2, 30)], "exact_match"),
    ],
)
def test_the_reward_that_fits(answers: list[str], kind: str) -> None:
    assert infer_reward(answers) == kind


def test_decimals_of_a_table_are_numbers() -> None:
    assert read_answers(Decimal("0.0000010"), None, LOCATION) == ("0.0000010",)
    with pytest.raises(DatasetError):
        read_answers(Decimal("NaN"), None, LOCATION)


LATEX_NUMBERS = [
    *(r"\frac{1}{7}", r"-\frac{1}{7}", r"$\dfrac{3}{4}$", r"\(\tfrac{3}{4}\)", r"\frac34"),
    *(r"1\frac{3}{4}", r"\frac{-1}{7}", r"\frac{1.5}{7}", r"\frac{\pi}{2}", r"\frac{2}{3}\pi"),
    *(r"\sqrt{2}", r"3\sqrt2", r"\frac{\sqrt{3}}{2}", r"\frac{2\sqrt{3}}{3}", r"1 + \sqrt{5}"),
    *(r"\frac{1}{2} - \frac{\sqrt{5}}{2}", r"2\pi", r"$$12\pi$$", r"4 - \pi"),
]


@pytest.mark.parametrize("answer", LATEX_NUMBERS)
def test_numbers_of_latex_are_numeric_and_can_be_earned(answer: str) -> None:
    """An inferred reward must be able to read every answer, or it would refuse the dataset."""
    assert infer_reward([answer]) == "numeric"
    assert is_readable_answer(answer)
    assert Numeric("Answer:").score(f"Answer: {answer}", (answer,)) == 1
    assert Numeric("Answer:").score("Answer: 77", (answer,)) == 0


@pytest.mark.parametrize(
    "answer", ["x", r"\alpha", r"2\pi r", r"\sqrt{x}", "$AAPL", r"C:\pi", r"\pm 2"]
)
def test_other_formulas_are_left_to_the_card(answer: str) -> None:
    assert infer_reward([answer]) != "numeric"


def test_a_fraction_earns_however_it_is_written() -> None:
    assert Numeric("Answer:").score("1/7", (r"\frac{1}{7}",)) == 1
