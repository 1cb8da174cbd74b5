from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials.training.rollout_batch import (
    advantages,
    completions_of,
    exchanged,
    flat,
    joined,
    masked,
    selected,
)

ALONE: Any = SimpleNamespace(gather=lambda tensor: tensor.reshape(-1))


def batch(width: int, marker: int, count: int = 4) -> dict[str, Any]:
    ids = torch.arange(count * width).reshape(count, width) + marker
    return {
        "prompt_ids": ids.clone(),
        "prompt_mask": torch.ones(count, width, dtype=torch.long),
        "completion_ids": ids.clone(),
        "completion_mask": torch.ones(count, width, dtype=torch.long),
        "advantages": torch.arange(count, dtype=torch.float) + marker,
        "num_items_in_batch": torch.tensor(count * width),
    }


def test_advantages_are_those_of_trl_where_groups_are_of_one_size() -> None:
    from trl.trainer.utils import nanstd

    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.25, 1.0])
    rows = torch.tensor([7, 7, 7, 7, 3, 3, 3, 3])
    grouped = rewards.view(-1, 4)
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    deviation = nanstd(grouped, dim=1).unsqueeze(1)
    expected = {
        "group": (centred / (deviation + 1e-4)).flatten(),
        "batch": centred.flatten() / (nanstd(rewards) + 1e-4),
        "none": centred.flatten(),
    }
    for scale, values in expected.items():
        torch.testing.assert_close(advantages(rewards, rows, scale), values)


def test_a_prompt_of_several_slots_is_one_group() -> None:
    rewards, rows = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]), torch.tensor([4, 4, 4, 4, 2, 2])
    assert advantages(rewards, rows, "none").tolist() == [0.5, 0.5, -0.5, -0.5, 0.0, 0.0]
    assert flat(rewards, rows).tolist() == [False] * 4 + [True] * 2


def test_masked_completions_have_no_tokens_and_a_batch_is_never_empty() -> None:
    one = batch(3, 0)
    found = masked(one, torch.tensor([True, False, False, True]), ALONE)
    assert found["completion_mask"].sum(dim=1).tolist() == [0, 3, 3, 0]
    assert found["num_items_in_batch"] == 6
    assert masked(one, torch.ones(4, dtype=torch.bool), ALONE) is one


def test_selected_completions_keep_what_belongs_to_them() -> None:
    found = selected(batch(3, 10), torch.tensor([1, 3]), ALONE)
    assert found["advantages"].tolist() == [11.0, 13.0]
    assert found["prompt_ids"].shape == (2, 3)
    assert found["num_items_in_batch"] == 6


@pytest.mark.parametrize(("mine", "theirs"), [(2, 4), (4, 2), (3, 3)])
def test_batches_of_two_widths_are_joined(mine: int, theirs: int) -> None:
    one, other = batch(mine, 0), batch(theirs, 100)
    found = joined(one, other, torch.tensor([0, 5, 2, 7]), ALONE, pad=-1)
    assert found["advantages"].tolist() == [0.0, 101.0, 2.0, 103.0]
    width = max(mine, theirs)
    for place, (source, row) in enumerate([(one, 0), (other, 1), (one, 2), (other, 3)]):
        own = source["prompt_ids"][row].tolist()
        filler = [-1] * (width - len(own))
        assert found["prompt_ids"][place].tolist() == filler + own
        assert found["completion_ids"][place].tolist() == own + filler
        assert (
            found["prompt_mask"][place].sum() == found["completion_mask"][place].sum() == len(own)
        )
    assert found["num_items_in_batch"] == 2 * mine + 2 * theirs


@given(data=st.data(), processes=st.integers(1, 3), share=st.integers(1, 4))
def test_groups_are_exchanged_within_a_process(
    data: st.DataObject, processes: int, share: int
) -> None:
    slots = processes * share
    bad, worse = (data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots)) for _ in "ab")
    source = exchanged(bad, worse, processes)
    assert len(set(source)) == slots
    for slot, other in enumerate(source):
        if not bad[slot]:
            assert other == slot
        if other >= slots:
            assert not worse[other - slots]
            assert (other - slots) // share == slot // share
    for process in range(processes):
        own = range(process * share, (process + 1) * share)
        exchanges = sum(source[slot] >= slots for slot in own)
        assert exchanges == min(sum(bad[s] for s in own), sum(not worse[s] for s in own))


def test_the_completions_of_groups() -> None:
    assert completions_of([2, 0], 3).tolist() == [6, 7, 8, 0, 1, 2]
