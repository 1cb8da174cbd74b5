"""Arithmetic on a buffer of completions, as TRL hands it from generating to training.

A batch is a dictionary of this process's tensors, one row for each completion, with 0-dimensional
numbers for all. Groups are completions of one prompt; `rows` names the prompt of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from trials.curriculum.base import EPSILON

Batch = dict[str, Any]


def group_statistics(rewards: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, with n - 1, of each completion's group; both (n,)."""
    _, group, count = rows.unique(return_inverse=True, return_counts=True)
    zeros = torch.zeros(len(count), dtype=rewards.dtype, device=rewards.device)
    mean = (zeros.index_add(0, group, rewards) / count)[group]
    squares = zeros.index_add(0, group, (rewards - mean).square())
    return mean, (squares / (count - 1).clamp(min=1)).sqrt()[group]


def flat(rewards: Tensor, rows: Tensor) -> Tensor:
    """(n,) True where a completion's group has one reward only, and so nothing to teach."""
    _, deviation = group_statistics(rewards, rows)
    return torch.isclose(deviation, torch.zeros_like(deviation))


def advantages(rewards: Tensor, rows: Tensor, scale: str) -> Tensor:
    """(n,): rewards less their group's mean, over a standard deviation plus 1e-4, as in TRL.

    `scale` is `group`, `batch` or `none`: whose deviation divides.
    """
    mean, deviation = group_statistics(rewards, rows)
    if scale == "none":
        return rewards - mean
    if scale == "batch":
        deviation = rewards.std().expand_as(rewards)
    return (rewards - mean) / (deviation + EPSILON)


def masked(batch: Batch, out: Tensor, accelerator: Accelerator) -> Batch:
    """The batch without the loss of some of its completions; as it was if that left none.

    Their KL goes as well, and losses that average over all tokens average over those that are left,
    so a step is larger than one in which flat groups count.
    """
    left = (~out).to(batch["completion_mask"].dtype)
    mask = batch["completion_mask"] * left.unsqueeze(1)
    tokens = accelerator.gather(mask.sum()).sum()
    if tokens == 0:
        return batch
    return batch | {"completion_mask": mask, "num_items_in_batch": tokens}


def selected(batch: Batch, kept: Tensor, accelerator: Accelerator) -> Batch:
    """The completions of some indices alone, with the tokens of all processes counted anew."""
    count = len(batch["advantages"])
    found = {
        name: value[kept] if is_per_completion(value, count) else value
        for name, value in batch.items()
    }
    tokens = accelerator.gather(found["completion_mask"].sum()).sum()
    return found | {"num_items_in_batch": tokens}


def exchanged(bad: Sequence[bool], still_bad: Sequence[bool], processes: int) -> list[int]:
    """Where the groups of a batch come from: itself, or from `len(bad)` on another batch.

    Bad groups give way to the other batch's good ones, as far as there are such on the same of the
    processes, which have equal shares of both.
    """
    slots, share = len(bad), len(bad) // processes
    source = list(range(slots))
    for begin in range(0, slots, share):
        own = range(begin, begin + share)
        good = [slots + slot for slot in own if not still_bad[slot]]
        for slot, other in zip((slot for slot in own if bad[slot]), good, strict=False):
            source[slot] = other
    return source


def completions_of(groups: Sequence[int], size: int) -> Tensor:
    """Indices of the completions of groups of one size."""
    return (torch.tensor(groups)[:, None] * size + torch.arange(size)).flatten()


def joined(one: Batch, other: Batch, take: Tensor, accelerator: Accelerator, pad: int) -> Batch:
    """Completions of two batches, `take` counting on from one to the other, padded to one width.

    Prompts are padded on the left, what belongs to completions on the right.
    """
    count = len(one["advantages"])
    found: Batch = {}
    for name, value in one.items():
        if not is_per_completion(value, count):
            found[name] = value
            continue
        mine, theirs = value, other[name]
        if value.ndim > 1:
            width = max(mine.shape[1], theirs.shape[1])
            filler = pad if name.endswith("_ids") else 0
            left = name.startswith("prompt")
            mine = _widened(mine, width, filler, left)
            theirs = _widened(theirs, width, filler, left)
        found[name] = torch.cat([mine, theirs])[take]
    tokens = accelerator.gather(found["completion_mask"].sum()).sum()
    return found | {"num_items_in_batch": tokens}


def is_per_completion(value: Any, count: int) -> bool:
    """True for a tensor with a row for each completion."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == count


def _widened(values: Tensor, width: int, filler: int, left: bool) -> Tensor:
    missing = width - values.shape[1]
    padding = (missing, 0) if left else (0, missing)
    return torch.nn.functional.pad(values, padding, value=filler)
