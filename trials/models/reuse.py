"""Caches that a warm worker keeps between trials: only what follows from files.

Rows, their lengths and their tokens are the same for every trial of a run, and making them takes
longer than a small trial. Nothing that training changes is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from trials.data.dataset import Dataset, fingerprint, load_dataset
from trials.data.lengths import check_lengths, completion_limits
from trials.io.errors import DatasetError
from trials.models.tokenizer import load_tokenizer

KEPT = 4  # a worker serves one dataset at a time, or a few in turns


def unchanged_dataset(path: str, expected: str) -> Dataset:
    """The training and validation rows of a dataset with a known fingerprint.

    Raises:
        DatasetError: when it cannot be read, or its content is not that of the fingerprint.
    """
    found = fingerprint(path)
    if found == expected:
        return _dataset(path, expected)
    load_dataset(path)  # what was added may be broken, and that says more
    expected = f"{expected}: the data changed since the run began; start a new run"
    raise DatasetError(f"fingerprint {found}", path=path, expected=expected)


@lru_cache(maxsize=KEPT)
def _dataset(path: str, content: str) -> Dataset:
    return load_dataset(path, splits=("train", "validation"))


@lru_cache(maxsize=KEPT)
def token_lengths(
    path: str, content: str, model: str, max_length: int | None, context_limit: int
) -> tuple[int, int, int]:
    """Tokens of the longest row, the default limit of a completion, and a lower one most fit.

    ``content`` is the dataset's fingerprint; the limits are those of ``check_lengths``.

    Raises:
        DatasetError: when a row is longer than a limit.
    """
    dataset, tokenizer = _dataset(path, content), load_tokenizer(model)
    longest = check_lengths(dataset, tokenizer, max_length, context_limit)
    return longest, *completion_limits(dataset, tokenizer)


_tokenized: OrderedDict[Hashable, Any] = OrderedDict()


def prepared(key: Hashable, build: Callable[[Any], Any], raw: Callable[[], Any]) -> Any:
    """A trainer, built from data that were prepared already, or from raw ones, which it prepares.

    The key is all that decides how it does that; the data are kept for the next one with that key.
    """
    if key in _tokenized:
        _tokenized.move_to_end(key)
        return build(_tokenized[key])
    trainer = build(raw())
    _tokenized[key] = trainer.train_dataset
    while len(_tokenized) > KEPT:
        _tokenized.popitem(last=False)
    return trainer
