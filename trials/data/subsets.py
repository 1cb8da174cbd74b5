"""The rows that trials are scored on, and those that none is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from trials.spec.plan import rows_in_share

Item = TypeVar("Item")


def fixed_subset(rows: Sequence[Item], size: int) -> list[Item]:
    """The same rows for every trial of a dataset: a sample that depends on nothing else."""
    return [rows[index] for index in _chosen(len(rows), size)]


def nested_share(rows: Sequence[Item], share: float) -> list[Item]:
    """A share of the rows, in their order, that holds every smaller share; at least one row."""
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    return [rows[index] for index in sorted(order[: rows_in_share(len(rows), share)])]


def rows_outside_subsets(rows: Sequence[Item], sizes: Sequence[int]) -> list[Item]:
    """The rows that are in no ``fixed_subset`` of these sizes: no trial was scored on them."""
    seen = {index for size in sizes for index in _chosen(len(rows), size)}
    return [row for index, row in enumerate(rows) if index not in seen]


def _chosen(count: int, size: int) -> Sequence[int]:
    if count <= size:
        return range(count)
    return sorted(random.Random(0).sample(range(count), size))
