"""Before anything is spent: whether the rows' own completions earn the reward."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import sums, write_dataset, write_rows
from trials.data.dataset import Dataset, load_dataset
from trials.io.errors import RewardError
from trials.scoring import own_completions
from trials.scoring.own_completions import check_own_completions


def folder(path: Path, rows: Sequence[dict[str, Any]], card: str = "") -> Dataset:
    """A dataset with the same rows, under other prompts, in every split."""
    for split in ("train", "validation", "test"):
        write_rows(
            path / f"{split}.jsonl",
            [{**row, "prompt": f"{split}: {row['prompt']}"} for row in rows],
        )
    if card:
        (path / "dataset.yaml").write_text(card)
    return load_dataset(path)


def refusal(dataset: Dataset, allowed: bool = False) -> str:
    with pytest.raises(RewardError) as caught:
        check_own_completions(dataset, allowed)
    return str(caught.value)


SOLVED = [
    {
        "prompt": f"{n} + 4",
        "completion": f"Add them.\n#### {n + 4}",
        "answer": f"Add.\n#### {n + 4}",
    }
    for n in range(12)
]


def test_whole_solutions_with_their_marker_earn_the_reward(tmp_path: Path) -> None:
    dataset = folder(tmp_path, SOLVED, "answer_marker: '####'\n")
    assert dataset.card.reward == "numeric"
    assert check_own_completions(dataset) == []


def test_whole_solutions_without_their_marker_are_warned_of(tmp_path: Path) -> None:
    rows = [{**row, "completion": row["answer"]} for row in SOLVED]
    (warning,) = check_own_completions(folder(tmp_path, rows, "reward: exact_match\n"))
    assert 'set `answer_marker: "####"`' in warning


@pytest.mark.parametrize("first", [0, 1])
def test_places_of_options_as_answers_are_refused(tmp_path: Path, first: int) -> None:
    rows = [
        {
            "prompt": f"q{n}",
            "completion": f"It moves.\nAnswer: {'ABCD'[n % 4]}",
            "answer": n % 4 + first,
        }
        for n in range(12)
    ]
    text = refusal(folder(tmp_path, rows))
    assert "'numeric', which was inferred from the answers: 12 of 12 in train, 12 of 12 in" in text
    assert f"{tmp_path}/train.jsonl:1\n    answer: '{first}'" in text
    assert "taken as its answer: 'no number'\n    reward: 0" in text
    assert f'counted from {first}: write "answer": "A" for {first}' in text


@pytest.mark.parametrize(
    ("completion", "card", "offer"),
    [
        ("The total is {}.", "reward: exact_match\n", "`reward: numeric` in dataset.yaml"),
        (
            "5 steps.\n#### {}",
            "reward: exact_match\nanswer_marker: 'It is'\n",
            '`reward: numeric` and `answer_marker: "####"`',
        ),
        (
            "<answer>{}</answer>",
            "answer_marker: '####'\nreward: exact_match\n",
            "`reward: numeric`",
        ),
    ],
)
def test_what_would_fit_is_offered(tmp_path: Path, completion: str, card: str, offer: str) -> None:
    rows = [
        {"prompt": f"q{n}", "completion": completion.format(n), "answer": str(n)} for n in range(30)
    ]
    text = refusal(folder(tmp_path, rows, card))
    assert offer in text
    assert "(right on 90 of 90 rows)" in text


def single(path: Path) -> Path:
    rows = [
        {"prompt": f"q{n}", "completion": f"The total is {n}.", "answer": f"{n} in all"}
        for n in range(60)
    ]
    return write_rows(path, rows)


def test_a_single_file_is_told_how_to_get_a_card_and_that_works(tmp_path: Path) -> None:
    file = single(tmp_path / "my data" / "pc3.jsonl")
    text = refusal(load_dataset(file))
    home = file.with_name("pc3")
    assert "`reward: numeric` in dataset.yaml" in text
    commands = [line.strip() for line in text.splitlines()[-3:]]
    assert commands[0] == f"mkdir '{home}' && mv '{file}' '{home}'/"
    assert commands[1] == f"write '{home}/dataset.yaml'"
    assert commands[2].startswith(f"autopipe tune '{home}'")
    # As a reader types it: what a shell makes of the quotes counts. The whole text is known by now.
    subprocess.run(commands[0], shell=True, check=True)
    (home / "dataset.yaml").write_text("reward: numeric\n")
    assert check_own_completions(load_dataset(home)) == []


def test_a_card_beside_a_single_file_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    file = single(tmp_path / "pc3.jsonl")
    card = tmp_path / "dataset.yaml"
    card.write_text("reward: numeric\n")
    (tmp_path / "pc3").mkdir()
    text = refusal(load_dataset(file))
    assert "the one beside it is not read" in text
    assert f"mkdir {tmp_path}/pc3_1 && mv {file} {card} {tmp_path}/pc3_1/\n" in text
    write_rows(file, sums(60))
    (said,) = check_own_completions(load_dataset(file))
    assert said.startswith(f"{card} was not read")
    assert f"autopipe tune {tmp_path}/pc3_1" in said


def test_some_that_earn_nothing_are_counted_and_one_is_shown(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{n}", "completion": f"Answer: {n if n % 4 else 99}", "answer": n}
        for n in range(12)
    ]
    (warning,) = check_own_completions(folder(tmp_path, rows))
    assert "3 of 12 in train, 3 of 12 in validation, 3 of 12 in test" in warning
    assert "train.jsonl:1\n    answer: '0'\n    completion: 'Answer: 99'" in warning


def test_a_split_of_its_own_is_enough_for_a_refusal(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    rows = [{**row, "completion": "none"} for row in sums(8, 60)]
    write_rows(tmp_path / "test.jsonl", rows)
    assert "8 of 8 in test" in refusal(load_dataset(tmp_path))


def test_chats_are_scored_by_their_last_message(tmp_path: Path) -> None:
    chat = [{"role": "assistant", "content": "Answer: 4"}]
    rows = [{"prompt": f"q{n}", "completion": chat, "answer": 4} for n in range(4)]
    assert check_own_completions(folder(tmp_path, rows)) == []


def test_of_many_rows_the_same_part_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_completions, "MAX_ROWS", 5)
    dataset = write_dataset(tmp_path)
    (warning,) = check_own_completions(load_dataset(dataset))
    assert "checked on a part of the rows' own completions: 5 of 40 in train" in warning


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code.py").write_text(
        """
import os
import re

def equal(completion, prompt, answer, metadata):
    print("noise")
    return float(completion == answer)

def endless(completion, prompt, answer, metadata):
    return float(re.match("(a+)+$", "a" * 70 + "!") is None)

def ending(completion, prompt, answer, metadata):
    os._exit(3)

def raising(completion, prompt, answer, metadata):
    raise KeyError("no such")
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("code")
def test_code_of_the_user_is_called_in_a_process_of_its_own(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", card="reward: own_code:equal\n")
    assert check_own_completions(load_dataset(dataset), allow_user_code=True) == []


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("endless", r"did not return within 3 s, scoring the completion of .*train\.jsonl:1\n"),
        ("ending", r"ended the process that it ran in \(exit code 3\), .*train\.jsonl:1"),
        ("raising", r"raised KeyError: 'no such'\n  on .*train\.jsonl:1"),
    ],
)
def test_code_that_never_ends_ends_itself_or_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.setattr(own_completions, "TIME_LIMIT_SECONDS", 1.5)
    dataset = write_dataset(tmp_path / "data", card=f"reward: own_code:{name}\n")
    with pytest.raises(RewardError, match=problem):
        check_own_completions(load_dataset(dataset), allow_user_code=True)


def test_rows_without_completions_are_told(tmp_path: Path) -> None:
    whole = load_dataset(write_dataset(tmp_path))
    rows = {
        split: [type(row)(row.prompt, [], row.answer, {}) for row in rows]
        for split, rows in whole.splits.items()
    }
    dataset = Dataset(tmp_path / "other", whole.card, "other", rows, False)
    assert check_own_completions(dataset) == [
        "No row has a completion, so the reward was not checked on any"
    ]


def test_the_answer_is_the_same_when_asked_again(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path))
    first = check_own_completions(dataset)
    first.append("changed by a caller")
    assert check_own_completions(dataset) == []
    assert json.dumps(check_own_completions(dataset)) == "[]"
