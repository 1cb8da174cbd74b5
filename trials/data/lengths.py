"""Lengths of rows and completions in the tokens of a model, and the limits on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trials.data.dataset import Dataset, Preference, Row, render
from trials.data.messages import Message, common_beginning, has_template_keys
from trials.data.splits import join_places
from trials.io.errors import RowLocation

COMPLETION_MARGIN_TOKENS = 4
COMMON_COMPLETION_QUANTILE = 0.9
TOKENIZER_BATCH = 256  # texts that are tokenized together


def check_lengths(
    dataset: Dataset, tokenizer: Any, max_length: int | None, context_limit: int
) -> int:
    """Tokens of the longest row or preference, at most the schedule's and the model's limit.

    Raises:
        DatasetError: naming the rows that are longer, and their lengths in tokens.
    """
    found: list[tuple[Row | Preference, list[Message]]] = [
        (row, row.prompt + row.completion) for rows in dataset.splits.values() for row in rows
    ]
    for pair in dataset.preferences:
        found += [(pair, pair.prompt + side) for side in (pair.chosen, pair.rejected)]
    lengths = token_counts(tokenizer, [render(tokenizer, messages) for _, messages in found])
    looked_at = list(zip([row for row, _ in found], lengths, strict=True))
    reject_long_rows(dataset, looked_at, max_length, context_limit)
    return max(lengths)


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
    """Refuses rows that are too long, all of them at once, given all or the longest with tokens.

    Raises:
        DatasetError: with their number, the first of them, the longest, and what helps.
    """
    limit = max_row_tokens(max_length, context_limit)
    found: dict[RowLocation, int] = {}
    for row, length in lengths:
        location = RowLocation(row.file or dataset.path, row.line)
        found[location] = max(length, found.get(location, 0))
    long = {location: length for location, length in found.items() if length > limit}
    if not long:
        return
    files = list(dict.fromkeys(at.file for at in long))  # rows of one may be in any split
    first, *others = sorted(long, key=lambda at: (files.index(at.file), at.line or 0))
    longest = max(long, key=long.__getitem__)
    most = long[longest]
    problem = f"the row has {long[first]:,} tokens with this model's tokenizer"
    if others:
        rows = sum(map(len, dataset.splits.values())) + len(dataset.preferences)
        problem += (
            f"; {'at least ' * (len(found) < rows)}{len(long):,} of {rows:,} rows are too long: "
            f"this one, {join_places([at.short for at in others])}; the longest is "
            f"{longest.short} with {most:,}"
        )
    raised = "" if max_length is None else " and raise --max-length to that"
    option = "" if max_length is None else f" and --max-length is {max_length:,}"
    remedy = (
        f"raise --max-length to {most:,}"
        if most <= context_limit
        else f"choose a model with a context of at least {most:,}{raised}"
    )
    raise first.error(
        problem,
        f"at most {limit:,}: the model's context is {context_limit:,}{option}; shorten or remove "
        f"{'these rows' if others else 'the row'}, or {remedy}",
    )


def completion_limits(dataset: Dataset, tokenizer: Any) -> tuple[int, int]:
    """Tokens to generate at most, and a lower limit that nine of ten completions fit.

    The first is a quarter more than the longest training completion, and some: longer than needed
    costs time in every step; shorter would cut right answers off.
    """
    texts = [_spoken(tokenizer, row) for row in dataset.splits["train"]]
    lengths = sorted(token_counts(tokenizer, texts))
    limit = math.ceil(1.25 * lengths[-1]) + COMPLETION_MARGIN_TOKENS
    common = lengths[math.ceil(COMMON_COMPLETION_QUANTILE * len(lengths)) - 1]
    return limit, min(limit, common + COMPLETION_MARGIN_TOKENS)


def _spoken(tokenizer: Any, row: Row) -> str:
    """The text that a model has to write for a row, as the template has it for tool calls."""
    if not has_template_keys(row.completion) and len(row.completion) == 1:
        return str(row.completion[0]["content"])
    before = render(tokenizer, row.prompt)
    whole = render(tokenizer, row.prompt + row.completion)
    return whole[common_beginning(before, whole) :]
