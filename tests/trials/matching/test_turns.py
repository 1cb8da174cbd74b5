"""What repeats a prompt in a completion, and what is but an answer that looks a little like it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import sums, write_dataset, write_preferences, write_rows
from trials.data.dataset import load_dataset
from trials.io.errors import DatasetError
from trials.matching.turns import find_turn, repeats_prompt
from trials.scoring.own_completions import check_own_completions

QUESTION = "What do bees make in a hive?"
SYSTEM = {"role": "system", "content": "Be brief."}


def chat(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def load(folder: Path, card: str = "", **fields: Any) -> None:
    write_dataset(folder, card)
    write_rows(folder / "train.jsonl", [{"prompt": QUESTION, "answer": "honey", **fields}])
    load_dataset(folder)


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        (QUESTION, f"{QUESTION} honey"),
        (QUESTION, f"{QUESTION.replace(' ', '  ')}\n\nhoney"),
        (QUESTION, f"Question: {QUESTION}\nhoney"),
        (QUESTION, f"User: {QUESTION}\nAssistant: honey"),
        (QUESTION, f"**Human:** {QUESTION}\n\n**Assistant:** honey"),
        (QUESTION, f"System: Be brief.\nUser: {QUESTION}\nAssistant: honey"),
        (QUESTION, f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\nhoney"),
        (QUESTION, f"<s>[INST] {QUESTION} [/INST] honey"),
        ("1+2=", "User: 1+2=\nAssistant: 3"),
        ("蜜蜂制造什么东西？", "蜜蜂制造什么东西？蜂蜜"),
        ("ミツバチは何を作りますか？", "ミツバチは何を作りますか？ 蜂蜜"),
        ("ผึ้งทำอะไรในรัง", "ผึ้งทำอะไรในรัง น้ำผึ้ง"),
    ],
)
def test_a_repeated_prompt_is_refused_in_every_form(
    tmp_path: Path, prompt: str, completion: str, form: str
) -> None:
    said = completion if form == "text" else chat("assistant", completion)
    with pytest.raises(DatasetError, match=r"completion repeats the prompt before the answer"):
        load(tmp_path, prompt=prompt, completion=said)


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize(
    "repeated", [f"Beekeeping.\n\n{QUESTION}", f"Beekeeping. {QUESTION}", QUESTION]
)
def test_a_prompt_that_was_filled_in_is_a_prompt(tmp_path: Path, repeated: str, form: str) -> None:
    completion = f"{repeated} honey"
    said = completion if form == "text" else chat("assistant", completion)
    with pytest.raises(DatasetError, match=r"completion repeats the prompt"):
        load(tmp_path / "context", context="Beekeeping.", completion=said)
    card = 'prompt_template: "Beekeeping.\\n{prompt}"\n'
    with pytest.raises(DatasetError, match=r"completion repeats the prompt"):
        load(tmp_path / "template", card, completion=said)


@pytest.mark.parametrize("field", ["chosen", "rejected"])
def test_both_sides_of_a_pair_are_looked_at(tmp_path: Path, field: str) -> None:
    write_preferences(write_dataset(tmp_path), 1)
    pair = {"prompt": QUESTION, "chosen": "honey", "rejected": "milk"}
    repeated = chat("assistant", f"{QUESTION} honey or milk")
    write_rows(tmp_path / "preferences.jsonl", [{**pair, field: repeated}])
    with pytest.raises(DatasetError, match=rf"message 0 of {field} repeats the prompt"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("1+2=", "1+2=3"),
        ("What is 1+2?", "What is 1+2? It is 3."),
        ("1加2等于几？", "1加2等于几？3"),
        ("honey", "honey is made by bees"),
        ("", "User: honey"),
        ("honey", "User: honeycombs\nAssistant: wax"),
        (QUESTION, "Bees make honey in a hive."),
        (QUESTION, f"You ask: {QUESTION} Honey."),
        (QUESTION, "A user: what do bees make? They make honey."),
    ],
)
def test_a_restated_sum_or_subject_is_an_answer(prompt: str, completion: str) -> None:
    assert not repeats_prompt(completion, [chat("user", prompt)])


def test_the_whole_of_a_prompt_with_a_system_message_is_a_repetition() -> None:
    prompt = [SYSTEM, *chat("user", "1+2=")]
    assert not repeats_prompt("Be 3", [prompt])
    assert not repeats_prompt("Be brief. 1+2=3", [prompt])  # two words
    assert repeats_prompt(
        "Be very brief. 1+2=3", [[{**SYSTEM, "content": "Be very brief."}, prompt[1]]]
    )


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("3<|im_end|>", "<|im_end|>"),
        ("3<end_of_turn>\n<start_of_turn>user", "<end_of_turn>"),
        ("Yes.\nUser: And 2+2?\nAssistant: 4", "User:"),
        ("Yes.\n\nHuman: thanks\n\nAssistant: welcome", "Human:"),
        ("The user: a person", None),
        ("User: root\nHost: example", None),
        ("a <|> b", None),
    ],
)
def test_turns_within_a_text(text: str, turn: str | None) -> None:
    assert find_turn(text) == turn


def test_turns_within_completions_are_warned_of(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    rows = sums(3)
    rows[1]["completion"] += "<|im_end|>"
    write_rows(tmp_path / "train.jsonl", rows)
    (warning,) = check_own_completions(load_dataset(tmp_path))
    assert "1 of 23 texts that are to be trained hold turns of a chat" in warning
    assert f"'<|im_end|>' in {tmp_path / 'train.jsonl'}:2" in warning


def test_looking_takes_time_in_proportion_to_the_text() -> None:
    begin = time.process_time()
    for text in ("2 " * 200_000, "User: 2 " * 50_000, "\n#*" * 100_000, "\nUser:" * 60_000):
        repeats_prompt(text, [chat("user", "2")])
        find_turn(text)
    assert time.process_time() - begin < 4


def test_a_prompt_of_millions_of_characters_is_looked_at_in_seconds() -> None:
    begin = time.process_time()
    assert not repeats_prompt("So 4", [chat("user", "x" * 4_000_000)])
    words = "so many words " * 200_000
    assert repeats_prompt(f"{words} So 4", [chat("user", words)])
    assert time.process_time() - begin < 2
