"""Rows of chats as a table of `datasets`, for trainers and for the export."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, Features, Json, Value

from trials.data.messages import has_template_keys


def chat_table(rows: list[dict[str, Any]]) -> Dataset:
    """A table of rows whose columns are chats, texts or numbers.

    Messages that hold more than text are kept as JSON: Arrow would give all of them the same keys,
    and None, which templates write, for those that one lacks.
    """
    if not any(map(has_template_fields, rows)):
        return Dataset.from_list(rows)
    features = {
        name: Json()
        if isinstance(value, list)
        else Value("int64" if isinstance(value, int) else "string")
        for name, value in rows[0].items()
    }
    return Dataset.from_list(rows, features=Features(features))


def has_template_fields(row: dict[str, Any]) -> bool:
    """True when a chat of a row holds more than roles and texts."""
    lists = (value for value in row.values() if isinstance(value, list))
    chats = (each for each in lists if all(isinstance(message, dict) for message in each))
    return any(map(has_template_keys, chats))
