"""What a row may hold as chat, what becomes of it, and what is refused with field and message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset as load_hub

from tests.trials.helpers import write_dataset, write_preferences, write_rows
from trials.data.chat_table import chat_table
from trials.data.dataset import Preference, Row, load_dataset
from trials.io.errors import DatasetError

USER = {"role": "user", "content": "What is 1 + 2?"}
ASSISTANT = {"role": "assistant", "content": "It is 3."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def row_of(folder: Path, **fields: Any) -> Row:
    """The first training row of a dataset, with other fields than usual."""
    write_dataset(folder)
    write_rows(folder / "train.jsonl", [{"answer": "3", **fields}])
    return load_dataset(folder).splits["train"][0]


def pair_of(folder: Path, **fields: Any) -> Preference:
    write_preferences(write_dataset(folder), 1)
    write_rows(folder / "preferences.jsonl", [fields])
    return load_dataset(folder).preferences[0]


def refusal(folder: Path, **fields: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        row_of(folder, **fields)
    assert (caught.value.path, caught.value.line) == (folder / "train.jsonl", 1)
    assert caught.value.expected
    return caught.value.problem


@pytest.mark.parametrize(
    ("user", "assistant"),
    [("human", "gpt"), ("Human", "Assistant"), ("user", "model"), ("prompter", "bot")],
)
@pytest.mark.parametrize(("who", "what"), [("role", "content"), ("from", "value")])
def test_known_roles_and_keys_are_mapped(
    tmp_path: Path, user: str, assistant: str, who: str, what: str
) -> None:
    row = row_of(
        tmp_path,
        prompt=[{who: user, what: USER["content"]}],
        completion=[{who: assistant, what: ASSISTANT["content"]}],
    )
    assert (row.prompt, row.completion) == ([USER], [ASSISTANT])


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "1 + 2?"}]
    row = row_of(tmp_path, prompt=[{"role": "user", "content": parts}], completion="It is 3.")
    assert (row.prompt, row.completion) == ([USER], [ASSISTANT])


@pytest.mark.parametrize("prompt", [[USER], [SYSTEM, USER], USER["content"]])
def test_a_completion_that_repeats_the_prompt_loses_it(tmp_path: Path, prompt: Any) -> None:
    chat = prompt if isinstance(prompt, list) else [USER]
    assert row_of(tmp_path, prompt=prompt, completion=[*chat, ASSISTANT]).completion == [ASSISTANT]
    assert row_of(tmp_path, prompt=prompt, completion=[USER, ASSISTANT]).completion == [ASSISTANT]


def test_a_completion_may_repeat_the_prompt_as_it_was_before_the_template(tmp_path: Path) -> None:
    row = row_of(
        tmp_path, prompt=USER["content"], completion=[USER, ASSISTANT], context="Sums of ones."
    )
    assert row.prompt[0]["content"] == "Sums of ones.\n\nWhat is 1 + 2?"
    assert row.completion == [ASSISTANT]


def test_both_sides_of_a_pair_lose_the_prompt(tmp_path: Path) -> None:
    worse = {**ASSISTANT, "content": "It is 4."}
    chats = {"chosen": [USER, ASSISTANT], "rejected": [USER, worse]}
    for pair in (
        pair_of(tmp_path / "given", prompt=[USER], **chats),
        pair_of(tmp_path / "common", **chats),
    ):
        assert (pair.prompt, pair.chosen, pair.rejected) == ([USER], [ASSISTANT], [worse])


@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_a_conversation_is_split_before_its_last_turn(tmp_path: Path, field: str) -> None:
    first = {"from": "gpt", "value": "Hello."}
    row = row_of(tmp_path, **{field: [USER, first, USER, ASSISTANT]}, system="Be brief.")
    assert row.prompt == [SYSTEM, USER, {"role": "assistant", "content": "Hello."}, USER]
    assert row.completion == [ASSISTANT]


def test_tool_calls_are_kept(tmp_path: Path) -> None:
    result = {"role": "tool", "content": "3", "name": "add"}
    row = row_of(tmp_path, prompt=[USER], completion=[{**CALLING, "content": None}])
    assert row.completion == [CALLING]
    row = row_of(tmp_path, prompt=[USER, CALLING, result], completion=[ASSISTANT])
    assert row.prompt == [USER, CALLING, result]


def test_tool_calls_reach_trainers_as_they_were(tmp_path: Path) -> None:
    other = {"type": "function", "function": {"name": "find", "arguments": {"text": "x"}}}
    rows = [
        {"prompt": [USER], "completion": [CALLING], "row_index": 0},
        {"prompt": [USER], "completion": [ASSISTANT], "row_index": 1},
        {"prompt": [USER], "completion": [{**CALLING, "tool_calls": [other]}], "row_index": 2},
    ]
    table = chat_table(rows)
    assert list(table) == rows
    pq.write_table(table.data.table, tmp_path / "x.parquet")  # as exports do
    cache = str(tmp_path / "cache")
    found = load_hub("parquet", data_files=str(tmp_path / "x.parquet"), cache_dir=cache)
    assert list(found["train"]) == rows


def test_metadata_of_a_table_may_be_json(tmp_path: Path) -> None:
    row = row_of(tmp_path, prompt="1 + 2 =", completion="3", metadata='{"level": 1}')
    assert row.metadata == {"level": 1}


def test_a_chat_as_text_is_read(tmp_path: Path) -> None:
    assert row_of(tmp_path, prompt=json.dumps([USER]), completion="3").prompt == [USER]
    assert "written as text" in refusal(tmp_path, prompt=str([USER]), completion="3")


def test_a_chat_as_text_is_held_to_the_same_rules(tmp_path: Path) -> None:
    written = json.dumps([USER, ASSISTANT])
    row = row_of(tmp_path / "a", prompt=json.dumps([USER]), completion=written, context="A sum.")
    assert (row.prompt, row.completion) == ([USER], [ASSISTANT])
    found = refusal(tmp_path / "b", prompt="1 + 2 =", completion=written)
    assert "message 0 of completion is of the role 'user'" in found
    pair = {"chosen": written, "rejected": json.dumps([USER, {**ASSISTANT, "content": "4"}])}
    assert pair_of(tmp_path / "c", **pair).chosen == [ASSISTANT]


def test_a_conversation_as_text_that_is_no_json_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="messages is a chat written as text, and not as JSON"):
        row_of(tmp_path, prompt=None, completion=None, messages=repr([USER, ASSISTANT]))


def test_a_restated_sum_is_an_answer_and_a_restated_question_is_not(tmp_path: Path) -> None:
    assert row_of(tmp_path, prompt="1+2=", completion="1+2=3").completion[0]["content"] == "1+2=3"
    question = "Which city is the capital of France?"
    found = refusal(tmp_path, prompt=question, completion=f"{question} Paris.")
    assert "completion repeats the prompt" in found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"prompt": [{"role": "narrator", "content": "x"}]}, "message 0 of prompt has the unknown"),
        ({"prompt": [USER, {"content": "x"}]}, "message 1 of prompt has no role"),
        ({"prompt": [USER, {"role": 7, "content": "x"}]}, "message 1 of prompt has the unknown"),
        ({"prompt": [USER, "x"]}, "message 1 of prompt is a str"),
        ({"prompt": [USER, SYSTEM, USER]}, "message 1 of prompt is a system message"),
        ({"prompt": [USER, ASSISTANT]}, "the last message of prompt is of the role 'assistant'"),
        ({"prompt": [SYSTEM]}, "the last message of prompt is of the role 'system'"),
        ({"prompt": [{"role": "user", "content": " "}]}, "message 0 of prompt has no content"),
        ({"prompt": [{"role": "user", "content": 7}]}, "content that is a int"),
        ({"prompt": [{"role": "user", "content": {"text": "x"}}]}, "content that is a dict"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "part 0 of message 0 of prompt is of the type 'image_url'",
        ),
        ({"completion": [ASSISTANT, USER]}, "completion ends with a user turn (message 1)"),
        ({"completion": [USER, ASSISTANT, USER]}, "completion ends with a user turn (message 2)"),
        ({"completion": [USER]}, "completion repeats the prompt and says nothing"),
        ({"completion": [ASSISTANT, USER, ASSISTANT]}, "message 1 of completion is of the role"),
        ({"completion": [{**USER, "content": "else"}, ASSISTANT]}, "message 0 of completion is of"),
        ({"completion": [{"role": "assistant", "content": ""}]}, "message 0 of completion has no"),
        ({"completion": [{"role": "assistant", "content": None}]}, "has no content"),
        (
            {"completion": [{**CALLING, "tool_calls": "add(1, 2)"}]},
            "tool_calls that are not a list",
        ),
        ({"completion": {"role": "assistant", "content": "x"}}, "completion is a dict"),
        ({"completion": "half \ud83d of it"}, "completion has half a surrogate pair"),
        ({"prompt": "a\0b"}, "prompt has a NUL byte at character 2"),
        ({"answer": "\ud83d"}, "answer has half a surrogate pair"),
        ({"tools": [{"name": "add"}]}, "the row describes tools"),
        ({"images": [{"path": "a.png"}]}, "the row has images, which no prompt would show"),
        ({"completion": [{**ASSISTANT, "function_call": {"name": "f"}}]}, "key 'function_call'"),
        ({"completion": [{**ASSISTANT, "reasoning": "1 + 2"}]}, "has the key 'reasoning'"),
        ({"completion": [{**ASSISTANT, "weight": 0}]}, "message 0 of completion has the weight 0"),
        ({"metadata": "[1]"}, "metadata is a str"),
        ({"completion": [{**ASSISTANT, "content": "\udfff"}]}, "message 0 of completion has half"),
    ],
)
def test_what_would_be_trained_in_another_way_is_refused(
    tmp_path: Path, fields: dict[str, Any], found: str
) -> None:
    usual = {"prompt": [USER], "completion": [ASSISTANT]}
    assert found in refusal(tmp_path, **usual | fields)


@pytest.mark.parametrize(
    ("conversation", "found"),
    [
        ([USER, ASSISTANT, USER], "messages ends with the role 'user'"),
        ([ASSISTANT], "messages holds the assistant's turn alone"),
        ([SYSTEM, ASSISTANT], "the last message of prompt is of the role 'system'"),
    ],
)
def test_a_conversation_that_cannot_be_split(
    tmp_path: Path, conversation: list[Any], found: str
) -> None:
    assert found in refusal(tmp_path, messages=conversation)
