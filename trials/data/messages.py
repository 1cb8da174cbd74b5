"""One schema of chat messages for prompts, completions and preference pairs.

Whatever a row holds (a string, messages in the style of OpenAI or of ShareGPT, content in parts)
becomes a list of ``{"role", "content"}``; what a chat template may write beside the content
(``TEMPLATE_KEYS``) is kept. Everything that would be trained in another way than it was meant is
refused, with file, line, field and the index of the message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from trials.io.errors import RowLocation
from trials.matching.turns import repeats_prompt

Message = dict[str, Any]
ROLES = {
    alias: role
    for role, aliases in {
        "system": "system developer",
        "user": "user human prompter",
        "assistant": "assistant gpt chatgpt bot model ai",
        "tool": "tool function observation ipython",
    }.items()
    for alias in aliases.split()
}
# What chat templates read of a message besides role and content.
CHAT_FIELDS = ("prompt", "completion", "chosen", "rejected")
TEMPLATE_KEYS = ("tool_calls", "reasoning_content", "thinking", "name", "tool_call_id")
# What no template here would write, so that it would be lost.
UNSUPPORTED_KEYS = ("function_call", "refusal", "reasoning", "audio", "image", "images", "videos")
TEXT_PARTS = ("text", "input_text", "output_text")
CONVERSATION_FIELDS = ("messages", "conversations", "conversation")
# For base models that have none: the texts, a line each, and the end token after the answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
)
_CHAT_AS_TEXT = re.compile(r"\s*\[\s*\{\s*(['\"])(?:role|from|content|value)\1\s*:")


def read_prompt(value: Any, location: RowLocation) -> list[Message]:
    """Messages of a prompt: a system message first if any, and a user's or a tool's last.

    Raises:
        DatasetError: for anything else.
    """
    messages = read_messages(value, "prompt", "user", location)
    if messages[-1]["role"] not in ("user", "tool"):
        raise location.error(
            f"the last message of prompt is of the role {messages[-1]['role']!r}",
            "a prompt that ends with what the user says (or a tool), and the assistant's turn "
            "in completion",
        )
    return messages


def read_completion(
    value: Any, field: str, prompts: tuple[list[Message], ...], location: RowLocation
) -> list[Message]:
    """Messages of a completion, of ``chosen`` or of ``rejected``: what the assistant says.

    A chat that begins with the whole prompt, or with its last messages, loses that beginning.
    ``prompts`` are the row's, as it is and as it was before a template was filled in.

    Raises:
        DatasetError: for turns of others, for no turn at all, and for a text that repeats the
            prompt.
    """
    messages = read_messages(value, field, "assistant", location)
    if isinstance(value, str):
        _reject_repeated_text(value, field, prompts, location)
        return messages
    repeated = max((_repeated(messages, prompt) for prompt in prompts), default=0)
    turns = messages[repeated:]
    if not turns:
        raise location.error(
            f"{field} repeats the prompt and says nothing else", f"the assistant's turn in {field}"
        )
    if turns[-1]["role"] == "user":
        problem = f"{field} ends with a user turn (message {len(messages) - 1})"
        raise location.error(problem, "a completion that ends with what the assistant says")
    for index, turn in enumerate(turns, repeated):
        if value[index].get("weight") in (0, False) and "weight" in value[index]:
            raise location.error(
                f"message {index} of {field} has the weight 0, and would be trained all the same",
                f"turns that are not to be trained in prompt, and only the others in {field}",
            )
        if turn["role"] != "assistant":
            raise location.error(
                f"message {index} of {field} is of the role {turn['role']!r}, and would be "
                "trained as if the model had said it",
                f"only the assistant's turns in {field}, or the whole prompt before them word for "
                "word; what others said belongs into prompt",
            )
    _reject_repeated_text(turns[0]["content"], f"message {repeated} of {field}", prompts, location)
    return turns


def read_messages(value: Any, field: str, role: str, location: RowLocation) -> list[Message]:
    """Messages of one field; a string becomes one message of the given role.

    Raises:
        DatasetError: for anything but a chat, or a message that no model could be trained on.
    """
    if isinstance(value, str):
        return [{"role": role, "content": validate_text(value, field, location)}]
    if not isinstance(value, list) or not value:
        expected = "a string or a list of {'role': ..., 'content': ...}"
        raise location.error(f"{field} is a {type(value).__name__} that is not a chat", expected)
    messages = []
    for index, each in enumerate(value):
        what = f"message {index} of {field}"
        messages.append(_message(each, what, location))
        if index and messages[-1]["role"] == "system":
            raise location.error(
                f"{what} is a system message", "one system message at most, and before all others"
            )
    return messages


def split_conversation(raw: Mapping[str, Any], location: RowLocation) -> Mapping[str, Any]:
    """A row whose whole conversation is in one field, as ``messages``, split before its last turn.

    Rows with a prompt or a completion of their own are handed back as they are.

    Raises:
        DatasetError: when the conversation does not end with the assistant's turn.
    """
    field = next((name for name in CONVERSATION_FIELDS if raw.get(name)), None)
    if field is None or raw.get("prompt") or raw.get("completion"):
        return raw
    messages = read_messages(raw[field], field, "user", location)
    if isinstance(raw.get("system"), str) and raw["system"] and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": raw["system"]}, *messages]
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        last = messages[-1]["role"]
        alone = f"{field} holds the assistant's turn alone"
        found = alone if last == "assistant" else f"{field} ends with the role {last!r}"
        expected = f"what the user says and, last, the assistant's turn in {field}"
        raise location.error(found, expected)
    return {**raw, "prompt": messages[:-1], "completion": messages[-1:]}


def split_common_prompt(raw: Mapping[str, Any], location: RowLocation) -> Mapping[str, Any]:
    """A preference without a prompt of its own gets the messages that both chats begin with."""
    if raw.get("prompt") or not all(isinstance(raw.get(k), list) for k in ("chosen", "rejected")):
        return raw
    chosen = read_messages(raw["chosen"], "chosen", "assistant", location)
    rejected = read_messages(raw["rejected"], "rejected", "assistant", location)
    pairs = zip(chosen[:-1], rejected[:-1], strict=False)
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    while shared and shared[-1]["role"] == "assistant":
        shared.pop()
    return {**raw, "prompt": shared} if shared else raw


def parse_json_chats(raw: Mapping[str, Any], location: RowLocation) -> Mapping[str, Any]:
    """A row whose chats were written as JSON texts, as tables hold them, with these read.

    Raises:
        DatasetError: for one that is not JSON.
    """
    chats: dict[str, Any] = {}
    for field in (*CHAT_FIELDS, *CONVERSATION_FIELDS):
        if isinstance(raw.get(field), str) and _CHAT_AS_TEXT.match(raw[field]):
            try:
                chats[field] = json.loads(raw[field])
            except (ValueError, RecursionError):
                problem = f"{field} is a chat written as text, and not as JSON"
                expected = "a list of messages; in a table, write each chat with json.dumps"
                raise location.error(problem, expected) from None
    return {**raw, **chats}


def reject_tools(raw: Mapping[str, Any], location: RowLocation) -> None:
    """Refuses a row with tools or pictures, which would be left out of every prompt.

    Raises:
        DatasetError: for a row that has some.
    """
    for field in ("image", "images"):
        if raw.get(field) and not isinstance(raw[field], str):
            raise location.error(
                f"the row has {field}, which no prompt would show", "texts alone in every row"
            )
    tools = raw.get("tools")
    if tools and not isinstance(tools, bool | int | float) and tools not in ("[]", "null"):
        expected = "the description of the tools in a system message, and no field tools"
        problem = "the row describes tools, which no prompt would tell the model of"
        raise location.error(problem, expected)


def validate_text(text: str, what: str, location: RowLocation) -> str:
    """The text itself, if a tokenizer can take it.

    Raises:
        DatasetError: for half a surrogate pair or a NUL byte.
    """
    if "\0" in text:
        raise location.error(
            f"{what} has a NUL byte at character {text.index(chr(0)) + 1}", "text without NUL bytes"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise location.error(
            f"{what} has half a surrogate pair ({text[error.start]!a}) at character "
            f"{error.start + 1}, which is not Unicode text",
            "whole characters; write the row anew with ensure_ascii=False",
        ) from None
    return text


def common_beginning(one: str, other: str) -> int:
    """Length of the longest text that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def has_template_keys(messages: list[Message]) -> bool:
    """True when a message holds more than role and content."""
    return any(key in message for message in messages for key in TEMPLATE_KEYS)


def _message(value: Any, what: str, location: RowLocation) -> Message:
    if not isinstance(value, dict):
        problem = f"{what} is a {type(value).__name__} that is not a chat message"
        raise location.error(problem, "{'role': ..., 'content': ...}")
    role = value.get("role", value.get("from"))
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        found = "no role" if role is None else f"the unknown role {role!r}"
        raise location.error(
            f"{what} has {found}", "system, user, assistant or tool (human and gpt are known too)"
        )
    extras = {key: value[key] for key in TEMPLATE_KEYS if value.get(key) not in (None, "", [])}
    _check_extras(extras, what, location)
    if lost := next((key for key in UNSUPPORTED_KEYS if value.get(key)), None):
        expected = f"role and content, and of others {', '.join(TEMPLATE_KEYS)}"
        raise location.error(f"{what} has the key {lost!r}, which would be left out", expected)
    content = value.get("content", value.get("value"))
    text = "" if content is None and extras else _text(content, what, location)
    if not text.strip() and "tool_calls" not in extras:
        raise location.error(f"{what} has no content", "a text in every message")
    return {"role": known, "content": validate_text(text, what, location), **extras}


def _text(content: Any, what: str, location: RowLocation) -> str:
    """Content as one text; a list of text parts is joined."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        return "".join(_part(part, index, what, location) for index, part in enumerate(content))
    found = "no content" if content is None else f"content that is a {type(content).__name__}"
    raise location.error(f"{what} has {found}", "a text, or a list of text parts, as content")


def _part(part: Any, index: int, what: str, location: RowLocation) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    text = part.get("text") if isinstance(part, dict) else None
    if kind not in TEXT_PARTS or not isinstance(text, str):
        expected = "parts of text alone: models are trained on text here, not on images or sound"
        raise location.error(f"part {index} of {what} is of the type {kind!r}", expected)
    return text


def _check_extras(extras: Mapping[str, Any], what: str, location: RowLocation) -> None:
    calls = extras.get("tool_calls", [])
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise location.error(
            f"{what} has tool_calls that are not a list of calls", "a list of objects"
        )
    for key, value in extras.items():
        text = json.dumps(value, ensure_ascii=False, default=str)
        validate_text(text.replace("\\u0000", "\0"), f"{key} of {what}", location)


def _repeated(messages: list[Message], prompt: list[Message]) -> int:
    """The number of messages at the beginning that are the end of the prompt, or all of it."""
    if prompt[-1]["role"] == "assistant":
        return 0
    lengths = range(min(len(prompt), len(messages)), 0, -1)
    return next((n for n in lengths if messages[:n] == prompt[-n:]), 0)


def _reject_repeated_text(
    text: str, field: str, prompts: tuple[list[Message], ...], location: RowLocation
) -> None:
    if repeats_prompt(text, prompts):
        raise location.error(
            f"{field} repeats the prompt before the answer", f"in {field} only what follows it"
        )
