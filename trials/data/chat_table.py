"""Rows of chats as a table of `datasets`, for trainers and for the export."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, Features, Json, Value

from trials.data.messages import has_template_keys


def chat_table(rows: list[dict[str, Any]]) -> Dataset:
    """A table of rows whose columns are chats, texts or numbers.

    Arrow gives all messages the same keys, and all tool calls the same arguments: those that one
    lacks become None, and templates write them. Where messages hold more than text they are kept
    as JSON, which hands them back as they were.
    """
    if not any(has_template_fields(row) for row in rows):
        return Dataset.from_list(rows)
    features = {name: _feature(value) for name, value in rows[0].items()}
    return Dataset.from_list(rows, features=Features(features))


def has_template_fields(row: dict[str, Any]) -> bool:
    """True when a chat of a row holds more than roles and texts."""
    return any(has_template_keys(value) for value in row.values() if _is_chat(value))


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


def _feature(value: Any) -> Any:
    if isinstance(value, list):
        return Json()
    return Value("int64" if isinstance(value, int) else "string")
