"""How long rows and completions are in the tokens of a model, and what is too long."""

from __future__ import annotations

import math
from typing import Any

from trials.dataset import Dataset, Preference, Row, render
from trials.errors import DatasetError
from trials.messages import Message, common_beginning, has_extras

COMPLETION_MARGIN_TOKENS = 4
MOST_COMPLETIONS = 0.9


def check_lengths(
    dataset: Dataset, tokenizer: Any, max_length: int | None, context_limit: int
) -> int:
    """Refuses rows and preferences longer than the schedule's or the model's token limit.

    Returns:
        The length of the longest in tokens.

    Raises:
        DatasetError: naming file and line of the row, and its length in tokens.
    """
    limit = context_limit if max_length is None else min(max_length, context_limit)
    found: list[tuple[Row | Preference, list[Message]]] = [
        (row, row.prompt + row.completion) for rows in dataset.splits.values() for row in rows
    ]
    for pair in dataset.preferences:
        found += [(pair, pair.prompt + pair.chosen), (pair, pair.prompt + pair.rejected)]
    texts = [render(tokenizer, messages) for _, messages in found]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    for (row, _), length in zip(found, lengths, strict=True):
        if length > limit:
            raise DatasetError(
                f"the row has {length} tokens with this model's tokenizer",
                path=row.file or dataset.path,
                line=row.line,
                expected=f"at most {limit}: the model's context is {context_limit}"
                + (
                    "; shorten the row"
                    if max_length is None
                    else f" and --max-length is {max_length}; shorten the row or raise --max-length"
                ),
            )
    return max(lengths)


def completion_limit(dataset: Dataset, tokenizer: Any) -> int:
    """Tokens to generate at most: a quarter more than the longest training completion, and some.

    Longer than needed costs time in every step; shorter would cut right answers off.
    """
    return completion_lengths(dataset, tokenizer)[0]


def completion_lengths(dataset: Dataset, tokenizer: Any) -> tuple[int, int]:
    """The limit of a completion, see `completion_limit`, and a lower one that nine of ten fit."""
    texts = [_spoken(tokenizer, row) for row in dataset.splits["train"]]
    lengths = sorted(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    limit = math.ceil(1.25 * lengths[-1]) + COMPLETION_MARGIN_TOKENS
    most = lengths[math.ceil(MOST_COMPLETIONS * len(lengths)) - 1] + COMPLETION_MARGIN_TOKENS
    return limit, min(limit, most)


def _spoken(tokenizer: Any, row: Row) -> str:
    """What a model has to write for a row: its text, or what the template makes of tool calls."""
    if not has_extras(row.completion) and len(row.completion) == 1:
        return str(row.completion[0]["content"])
    before = render(tokenizer, row.prompt)
    whole = render(tokenizer, row.prompt + row.completion)
    return whole[common_beginning(before, whole) :]
