from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trials.helpers import SIZES, sums, write_dataset, write_rows
from tests.trials.row_files import GOOD, PAIR, break_line, refusal, with_preferences
from trials.data.dataset import (
    SPLITS,
    Dataset,
    DatasetCard,
    Row,
    fingerprint,
    load_dataset,
)

# What is accepted


def test_a_folder_is_loaded(dataset_folder: Path) -> None:
    dataset = load_dataset(dataset_folder)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == SIZES
    assert dataset.name == "sums"
    assert dataset.splits["train"][0] == Row(
        prompt=[{"role": "user", "content": "0 + 0 ="}],
        completion=[{"role": "assistant", "content": "0"}],
        answer="0",
        metadata={},
    )


def test_only_the_splits_asked_for_are_kept_but_all_are_in_the_fingerprint(
    dataset_folder: Path,
) -> None:
    some = load_dataset(dataset_folder, splits=("train", "validation"))
    assert set(some.splits) == {"train", "validation"}
    assert some.fingerprint == load_dataset(dataset_folder).fingerprint


def test_chat_rows_context_and_template(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 2 ="}]
    answer = [{"role": "assistant", "content": "3"}]
    write_dataset(tmp_path)
    file = tmp_path / "train.jsonl"
    write_rows(
        file,
        [
            {"prompt": chat, "completion": answer, "answer": 3},
            {**GOOD, "context": "Sums of ones."},
        ],
    )
    chat_row, context_row = load_dataset(tmp_path).splits["train"]
    assert (chat_row.prompt, chat_row.completion, chat_row.answer) == (chat, answer, "3")
    assert context_row.prompt[0]["content"] == "Sums of ones.\n\n1 + 1 ="
    (tmp_path / "dataset.yaml").write_text("prompt_template: 'Q: {prompt} A:'\n")
    templated = load_dataset(tmp_path).splits["train"]
    assert templated[0].prompt == chat
    assert templated[1].prompt == [{"role": "user", "content": "Q: 1 + 1 = A:"}]


def test_blank_lines_are_skipped_and_still_counted(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    break_line(tmp_path, "", 1)
    assert len(load_dataset(tmp_path).splits["train"]) == SIZES["train"]
    break_line(tmp_path, "{", 5)
    assert refusal(tmp_path).line == 5


@given(kept=st.integers(40, 90), added=st.integers(1, 45), order=st.randoms())
@settings(max_examples=15, deadline=None)
def test_a_row_keeps_its_split_when_rows_are_added(
    tmp_path_factory: pytest.TempPathFactory, kept: int, added: int, order: Any
) -> None:
    folder = tmp_path_factory.mktemp("single")
    rows = sums(kept + added)
    before = load_dataset(write_rows(folder / "a.jsonl", rows[:kept]))
    order.shuffle(rows)
    after = load_dataset(write_rows(folder / "b.jsonl", rows))
    assert sum(len(rows) for rows in after.splits.values()) == kept + added
    for split in SPLITS:
        assert {row.prompt[0]["content"] for row in before.splits[split]} <= {
            row.prompt[0]["content"] for row in after.splits[split]
        }


def test_equal_prompts_of_a_single_file_fall_into_one_split(tmp_path: Path) -> None:
    rows = sums(100)
    once = load_dataset(write_rows(tmp_path / "a.jsonl", rows))
    twice = load_dataset(write_rows(tmp_path / "b.jsonl", rows + rows))
    for split in SPLITS:
        assert len(twice.splits[split]) == 2 * len(once.splits[split])


# What is refused


def test_missing_path(tmp_path: Path) -> None:
    assert "no such file or folder" in str(refusal(tmp_path / "nowhere"))


def test_missing_split(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "validation.jsonl").unlink()
    error = refusal(tmp_path)
    assert "validation.jsonl missing" in error.problem
    assert "test.jsonl, train.jsonl" in error.problem  # what was found instead


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"prompt": "1", ', "broken JSON: it does not end on its line"),
        ('{"prompt": "1", 2}', "broken JSON at column 17"),
        ("prompt: 1", "broken JSON: the line begins 'prompt: 1'"),
        ('{"answer": "1", "answer": "2"}', "the key 'answer' is there twice"),
        ("[1, 2]", "found a JSON list"),
        ('"text"', "found a JSON str"),
        (b'{"prompt": "caf\xe9"}', "byte 16 of the line is not UTF-8"),
        (json.dumps({"prompt": "1"}), "completion and answer missing or empty"),
        (json.dumps({**GOOD, "completion": ""}), "completion missing or empty"),
        (json.dumps({**GOOD, "answer": " \n"}), "answer missing or empty"),
        (json.dumps({**GOOD, "prompt": []}), "prompt missing or empty"),
        (json.dumps({**GOOD, "answer": None}), "answer missing or empty"),
        (json.dumps({**GOOD, "prompt": [{"role": "user"}]}), "message 0 of prompt has no content"),
        (json.dumps({**GOOD, "completion": 7}), "completion is a int that is not a chat"),
        (json.dumps({**GOOD, "metadata": [1]}), "metadata is a list"),
    ],
)
def test_a_bad_line(tmp_path: Path, line: str | bytes, found: str) -> None:
    write_dataset(tmp_path)
    file = break_line(tmp_path, line)
    error = refusal(tmp_path)
    assert found in error.problem
    assert (error.path, error.line) == (file, 3)
    assert f"{file}:3" in str(error)


@pytest.mark.parametrize("answer", [0, 0.0])
def test_a_falsy_answer_is_an_answer(tmp_path: Path, answer: Any) -> None:
    write_dataset(tmp_path)
    break_line(tmp_path, json.dumps({**GOOD, "prompt": "new", "answer": answer}), 1)
    assert load_dataset(tmp_path).splits["train"][0].answer == str(answer)


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("rewards: choice\n", "rewards"),
        ("reward: [1, 2]\n", "reward"),
        ("- a\n- b\n", "not readable"),
        ("reward: {\n", "not readable"),
        ("[]\n", "it is a list"),
        ("1: numeric\n", "keys that are not texts"),
    ],
)
def test_a_bad_card(tmp_path: Path, card: str, found: str) -> None:
    error = refusal(write_dataset(tmp_path, card))
    assert error.path == tmp_path / "dataset.yaml"
    assert found in error.problem


@pytest.mark.parametrize("card", ["", "# to be written\n"])
def test_an_empty_card_is_none(tmp_path: Path, card: str) -> None:
    plain = load_dataset(write_dataset(tmp_path / "a"))
    assert load_dataset(write_dataset(tmp_path / "b", card or "\n")).card == plain.card


def test_a_card_is_told_what_to_write(tmp_path: Path) -> None:
    assert "answer_marker" in str(refusal(write_dataset(tmp_path / "a", "answer_markers: x\n")))
    error = refusal(write_dataset(tmp_path / "b", "answer_marker: 5\n"))
    assert error.problem == "answer_marker: found 5"
    assert error.expected.startswith("a text, in quotes")
    error = refusal(write_dataset(tmp_path / "c", "colour: 5\n"))
    assert error.problem == "colour: unknown key"
    assert error.expected.startswith("one of name, description, reward, ")
    error = refusal(write_dataset(tmp_path / "d", "rewards: choice\n"))
    assert error.problem == "rewards: unknown key; did you mean 'reward'?"


def test_fields_of_other_names_are_recognised(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    break_line(tmp_path, json.dumps({"Question": "1 + 1 =", "output": "2", "answer": "2"}))
    assert str(refusal(tmp_path)).endswith(
        "- rename Question to prompt\n    - rename output to completion"
    )
    (tmp_path / "all.json").write_text(json.dumps({"data": [GOOD]}))
    assert "write that list alone" in str(refusal(tmp_path / "all.json"))


@pytest.mark.parametrize(
    "template", ["{question}", "{0}", "{prompt", "{prompt.text}", "{prompt[a]}"]
)
def test_a_template_that_does_not_fit(tmp_path: Path, template: str) -> None:
    error = refusal(write_dataset(tmp_path, f"prompt_template: '{template}'\n"))
    assert template in error.problem
    assert (error.path, error.line) == (tmp_path / "train.jsonl", 1)
    assert "prompt, completion, answer" in error.expected


# Preferences


def test_preferences_are_loaded_in_chat_form(tmp_path: Path) -> None:
    chat = {"prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+2"}]}
    chat |= {"chosen": [{"role": "assistant", "content": "3"}]}
    with_preferences(tmp_path, PAIR, "", {**PAIR, **chat}, {**PAIR, "context": "Sums:"})
    first, second, third = load_dataset(tmp_path).preferences
    assert first.prompt == [{"role": "user", "content": "3 + 4 = ?"}]
    assert first.chosen == [{"role": "assistant", "content": "7"}]
    assert first.rejected == [{"role": "assistant", "content": "8"}]
    assert (second.prompt, second.chosen) == (chat["prompt"], chat["chosen"])
    assert (second.file, second.line) == (tmp_path / "preferences.jsonl", 3)
    assert third.prompt[0]["content"] == "Sums:\n\n3 + 4 = ?"


def test_a_prompt_of_training_may_have_preferences(tmp_path: Path) -> None:
    [row, *_] = sums(1)
    with_preferences(tmp_path, {**PAIR, "prompt": row["prompt"]})
    assert len(load_dataset(tmp_path, splits=("validation",)).preferences) == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "broken JSON"),
        ({"prompt": "1"}, "chosen and rejected missing or empty"),
        ({**PAIR, "chosen": ""}, "chosen missing or empty"),
        ({**PAIR, "prompt": None}, "prompt missing or empty"),
        ({**PAIR, "rejected": 7}, "rejected is a int that is not a chat"),
        ({**PAIR, "rejected": "7"}, "chosen and rejected are the same"),
        ({**PAIR, "prompt": sums(1, SIZES["train"])[0]["prompt"]}, "is in 'validation' too"),
        ({**PAIR, "prompt": sums(1, SIZES["train"] + SIZES["validation"])[0]["prompt"]}, "'test'"),
    ],
)
def test_a_bad_preference(tmp_path: Path, line: str | dict[str, Any], found: str) -> None:
    error = refusal(with_preferences(tmp_path, PAIR, line))
    assert found in error.problem
    assert (error.path, error.line) == (tmp_path / "preferences.jsonl", 2)


def test_a_file_without_preferences(tmp_path: Path) -> None:
    assert "no preferences" in refusal(with_preferences(tmp_path)).problem


# Rewards and fingerprints


def test_fingerprints_of_the_bundled_history_still_hold(tmp_path: Path) -> None:
    """Taken with the release before there were preferences and forms of answers."""
    folder = write_dataset(tmp_path / "a")
    assert fingerprint(folder) == "f52cec3b6fd9e1a8"
    carded = write_dataset(tmp_path / "b", "reward: numeric\nanswer_marker: '='\n")
    assert fingerprint(carded) == "ee3ed6c8d06ad051"


def test_preferences_and_the_form_of_answers_are_in_the_fingerprint(tmp_path: Path) -> None:
    plain = fingerprint(write_dataset(tmp_path / "plain"))
    one = fingerprint(with_preferences(tmp_path / "one", PAIR))
    other = fingerprint(with_preferences(tmp_path / "other", {**PAIR, "chosen": "9"}))
    formed = fingerprint(write_dataset(tmp_path / "formed", "answer_format: 'Answer: .'\n"))
    assert len({plain, one, other, formed}) == 4


def test_the_fingerprint_follows_content_not_location(dataset_folder: Path, tmp_path: Path) -> None:
    original = fingerprint(dataset_folder)
    copy = tmp_path / "moved" / "elsewhere"
    shutil.copytree(dataset_folder, copy)
    assert fingerprint(copy) == original
    (copy / "dataset.yaml").write_text("reward: exact_match\n")
    carded = fingerprint(copy)
    assert carded != original
    for split in SPLITS:
        break_line_of = copy / f"{split}.jsonl"
        content = break_line_of.read_text()
        break_line_of.write_text(content.replace('"answer": "', '"answer": "1', 1))
        assert fingerprint(copy) != carded
        break_line_of.write_text(content)
    assert fingerprint(copy) == carded


def test_the_fingerprint_of_a_file_ignores_its_name(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", sums(60))
    second = write_rows(tmp_path / "b.jsonl", sums(60))
    third = write_rows(tmp_path / "c.jsonl", sums(61))
    assert fingerprint(first) == fingerprint(second) != fingerprint(third)


def test_a_dataset_names_itself_by_card_or_folder() -> None:
    parts: dict[str, Any] = {"fingerprint": "", "splits": {}, "reward_inferred": False}
    assert Dataset(path=Path("x/sums"), card=DatasetCard(), **parts).name == "sums"
    assert Dataset(path=Path("x/sums"), card=DatasetCard(name="s"), **parts).name == "s"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{prompt:>50000000}", "more than the name of a field"),
        ("{prompt!r}", "more than the name of a field"),
        ("{prompt.__class__}", "more than the name of a field"),
        ("{metadata}", "metadata is a dict"),
        ("{prompt}" * 50_000, "characters, more than"),
    ],
)
def test_a_template_is_filled_with_plain_fields_in_bounds(
    tmp_path: Path, template: str, found: str
) -> None:
    rows = [{**GOOD, "prompt": "x" * 300, "metadata": {"a": 1}}]
    write_dataset(tmp_path, f"prompt_template: '{template}'\n")
    write_rows(tmp_path / "train.jsonl", rows)
    error = refusal(tmp_path)
    assert found in error.problem
    assert len(str(error)) < 1_000
