"""Rows of common formats are told, in one message, all that has to be done; done, they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import write_rows
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError
from trials.scoring.own_completions import check_own_completions

LONG = "First two and two are added, then three more of them, and so on."
CHAT = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
RENAME_QUESTION = "rename question to prompt"


def refusal(folder: Path, row: dict[str, Any], name: str = "rows.jsonl") -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        load_dataset(write_rows(folder / name, [row]))
    return caught.value


def steps(folder: Path, row: dict[str, Any]) -> list[str]:
    expected = refusal(folder, row).expected
    return [line.removeprefix("    - ") for line in expected.splitlines()[1:]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"question": "2 + 2?", "answer": "4"},
            [RENAME_QUESTION, "add completion: a copy of answer will do"],
        ),
        (
            {"Question": "2 + 2?", "answer": 4},
            [
                "rename Question to prompt",
                "add completion: a copy of answer will do, as a text",
            ],
        ),
        (
            {"question": "2 + 2?", "answer": f"{LONG}\n#### 4"},
            [
                RENAME_QUESTION,
                "add completion: a copy of answer will do",
                'leave answer as it is; set `answer_marker: "####"` in dataset.yaml if the '
                "answer is what follows it",
            ],
        ),
        (
            {"question": "2 + 2?", "answer": LONG},
            [
                RENAME_QUESTION,
                "add completion: a copy of answer will do",
                "leave the result alone in answer; a whole solution only where its result follows "
                '"Answer:", or the `answer_marker` of dataset.yaml',
            ],
        ),
        (
            {"prompt": "2 + 2?", "completion": "4"},
            ["add answer: a copy of completion will do"],
        ),
        (
            {"prompt": "2 + 2?", "completion": f"{LONG}\nAnswer: 4"},
            ['add answer: a copy of completion will do; of it counts what follows "Answer:"'],
        ),
        (
            {"messages": CHAT},
            ["add answer: a copy of the assistant's last turn will do"],
        ),
        (
            {"instruction": "Add.", "input": "", "output": LONG},
            [
                "rename instruction to prompt",
                "rename output to completion",
                "rename input to context, which is put before the prompt, or where "
                "`prompt_template` in dataset.yaml says",
                "add answer: the result of completion alone, which a model's own is compared "
                "with; a whole text only where its result follows "
                '"Answer:", or the `answer_marker` of dataset.yaml',
            ],
        ),
        (
            {"input": "2 + 2?", "instruction": "Add.", "output": "4"},
            [
                "rename instruction to prompt",
                "rename output to completion",
                "rename input to context, which is put before the prompt, or where "
                "`prompt_template` in dataset.yaml says",
                "add answer: a copy of completion will do",
            ],
        ),
        (
            {"problem": "2 + 2?", "solution": LONG, "answer": "4"},
            ["rename problem to prompt", "rename solution to completion"],
        ),
        (
            {"input": "2 + 2?", "label": "4"},
            [
                "rename input to prompt",
                "rename label to answer",
                "add completion: a copy of answer will do",
            ],
        ),
        ({"text": LONG}, []),
    ],
)
def test_all_that_has_to_be_done_is_said_at_once(
    tmp_path: Path, row: dict[str, Any], said: list[str]
) -> None:
    assert steps(tmp_path, row) == said


def test_the_fields_found_are_those_that_the_row_was_written_with(tmp_path: Path) -> None:
    assert refusal(tmp_path, {"messages": CHAT}).problem == (
        "answer missing or empty (fields found: messages)"
    )
    pair = {"chosen": CHAT[1:], "rejected": CHAT[1:], "score": 1}
    write_rows(tmp_path / "preferences.jsonl", [pair])
    rows = [{"prompt": f"{n}?", "completion": "1", "answer": "1"} for n in range(60)]
    write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DatasetError, match=r"found: chosen, rejected, score\)"):
        load_dataset(tmp_path)


def test_missing_fields_are_a_list(tmp_path: Path) -> None:
    problem = refusal(tmp_path, {"text": "x"}).problem
    assert problem.startswith("prompt, completion and answer missing or empty")


@pytest.mark.parametrize("marker", ["####", "\\boxed{", "Answer:"])
def test_what_is_advised_for_whole_solutions_works(tmp_path: Path, marker: str) -> None:
    end = "}" * marker.endswith("{")
    solutions = [f"{LONG}\n{marker} {n}{end}" for n in range(60)]
    row = {"question": "2 + 2?", "answer": solutions[0]}
    advised = steps(tmp_path / "first", row)[-1]
    rows = [
        {"prompt": f"{n}?", "completion": each, "answer": each} for n, each in enumerate(solutions)
    ]
    write_rows(tmp_path / "data" / "rows.jsonl", rows)
    if "set `" in advised:
        card = advised.split("`")[1]
        (tmp_path / "data" / "dataset.yaml").write_text(card + "\n")
    dataset = load_dataset(tmp_path / "data")
    assert dataset.card.reward == "numeric"
    assert check_own_completions(dataset) == []
