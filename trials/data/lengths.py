"""How long rows and completions are in the tokens of a model, and what is too long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials.data.dataset import Dataset, Preference, Row, render
from trials.data.messages import Message, common_beginning, has_template_keys
from trials.data.splits import join_places
from trials.io.errors import DatasetError

COMPLETION_MARGIN_TOKENS = 4
COMMON_COMPLETION_QUANTILE = 0.9
TOKENIZER_BATCH = 256  # texts that are tokenized together


def check_lengths(
    dataset: Dataset, tokenizer: Any, max_length: int | None, context_limit: int
) -> int:
    """Refuses rows and preferences longer than the schedule's or the model's token limit.

    Returns:
        The length of the longest in tokens.

    Raises:
        DatasetError: naming the rows, and their lengths in tokens.
    """
    found = training_chats(dataset)
    texts = [render(tokenizer, messages) for _, messages in found]
    lengths = token_counts(tokenizer, texts)
    looked_at = [(row, length) for (row, _), length in zip(found, lengths, strict=True)]
    reject_long_rows(dataset, looked_at, max_length, context_limit)
    return max(lengths)


def training_chats(dataset: Dataset) -> list[tuple[Row | Preference, list[Message]]]:
    """All that is trained: each row, and each preference twice, with the whole chat."""
    found: list[tuple[Row | Preference, list[Message]]] = [
        (row, row.prompt + row.completion) for rows in dataset.splits.values() for row in rows
    ]
    for pair in dataset.preferences:
        found += [(pair, pair.prompt + pair.chosen), (pair, pair.prompt + pair.rejected)]
    return found


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of rendered texts, a part of them at a time: what is said of each takes memory."""
    lengths: list[int] = []
    for start in range(0, len(texts), TOKENIZER_BATCH):
        part = list(texts[start : start + TOKENIZER_BATCH])
        lengths += map(len, tokenizer(part, add_special_tokens=False)["input_ids"])
    return lengths


def max_row_tokens(max_length: int | None, context_limit: int) -> int:
    """Tokens of a row at most."""
    return context_limit if max_length is None else min(max_length, context_limit)


def reject_long_rows(
    dataset: Dataset,
    lengths: Sequence[tuple[Row | Preference, int]],
    max_length: int | None,
    context_limit: int,
) -> None:
    """Refuses rows that are too long, all of them at once.

    Args:
        dataset: that they are of.
        lengths: rows with their tokens; all rows, or the longest among others.
        max_length, context_limit: of the schedule and of the model.

    Raises:
        DatasetError: with their number, the first of them, the longest, and what helps.
    """
    limit = max_row_tokens(max_length, context_limit)
    long: dict[tuple[Path, int | None], int] = {}
    seen = set()
    for row, length in lengths:
        place = (row.file or dataset.path, row.line)
        seen.add(place)
        if length > max(limit, long.get(place, 0)):
            long[place] = length
    if not long:
        return
    files = list(dict.fromkeys(file for file, _ in long))  # rows of one may be in any split
    [(file, line), *others] = sorted(long, key=lambda at: (files.index(at[0]), at[1] or 0))
    longest = max(long, key=long.__getitem__)
    problem = f"the row has {long[file, line]:,} tokens with this model's tokenizer"
    if others:
        least = "at least " * (len(seen) < _rows(dataset))
        places = [f"{at.name}:{number}" for at, number in others]
        most = f"{longest[0].name}:{longest[1]} with {long[longest]:,}"
        problem += (
            f"; {least}{len(long):,} of {_rows(dataset):,} rows are too long: this one, "
            f"{join_places(places)}; the longest is {most}"
        )
    these = "these rows" if others else "the row"
    raise DatasetError(
        problem,
        path=file,
        line=line,
        expected=f"at most {limit:,}: {_reason(max_length, context_limit)}; shorten or remove "
        f"{these}, or {_more_room(long[longest], max_length, context_limit)}",
    )


def _rows(dataset: Dataset) -> int:
    return sum(map(len, dataset.splits.values())) + len(dataset.preferences)


def _reason(max_length: int | None, context_limit: int) -> str:
    context = f"the model's context is {context_limit:,}"
    return context if max_length is None else f"{context} and --max-length is {max_length:,}"


def _more_room(longest: int, max_length: int | None, context_limit: int) -> str:
    if longest <= context_limit:
        return f"raise --max-length to {longest:,}"
    model = f"choose a model with a context of at least {longest:,}"
    return model if max_length is None else f"{model} and raise --max-length to that"


def completion_limit(dataset: Dataset, tokenizer: Any) -> int:
    """Tokens to generate at most: a quarter more than the longest training completion, and some.

    Longer than needed costs time in every step; shorter would cut right answers off.
    """
    return completion_limits(dataset, tokenizer)[0]


def completion_limits(dataset: Dataset, tokenizer: Any) -> tuple[int, int]:
    """The limit of a completion, see `completion_limit`, and a lower one that nine of ten fit."""
    texts = [_spoken(tokenizer, row) for row in dataset.splits["train"]]
    lengths = sorted(token_counts(tokenizer, texts))
    limit = math.ceil(1.25 * lengths[-1]) + COMPLETION_MARGIN_TOKENS
    most = (
        lengths[math.ceil(COMMON_COMPLETION_QUANTILE * len(lengths)) - 1] + COMPLETION_MARGIN_TOKENS
    )
    return limit, min(limit, most)


def _spoken(tokenizer: Any, row: Row) -> str:
    """What a model has to write for a row: its text, or what the template makes of tool calls."""
    if not has_template_keys(row.completion) and len(row.completion) == 1:
        return str(row.completion[0]["content"])
    before = render(tokenizer, row.prompt)
    whole = render(tokenizer, row.prompt + row.completion)
    return whole[common_beginning(before, whole) :]
