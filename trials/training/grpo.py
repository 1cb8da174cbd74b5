"""TRL's GRPO as a trial uses it: exact when continued, and with a say in what is generated.

A buffer of completions passes through here: which prompts it is for (`trials.curriculum`), how many
completions each of them gets, which groups are drawn anew or left out, and which completions are
trained on. TRL generates, scores and trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from trials.curriculum.allocation import knapsack, most_varied
from trials.curriculum.base import Curriculum
from trials.curriculum.curricula import learns
from trials.spec.hyperparameters import Hyperparameters
from trials.training.rollout_batch import (
    Batch,
    advantages,
    completions_of,
    exchanged,
    flat,
    joined,
    masked,
    selected,
)
from trials.training.scheduled import OwnSchedule

DEFAULT_ROUNDS = 2


class EpochSampler(RepeatSampler):
    """TRL's order of prompts, which can be entered at any epoch.

    TRL's sampler draws a permutation an epoch from one generator, so a process that goes on in the
    third epoch would be shown the prompts in the order of the first.
    """

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass that of an epoch, counted from 0."""
        self.generator.manual_seed(self.seed or 0)  # a trial always gives a seed
        for _ in range(epoch):
            torch.randperm(self.num_samples, generator=self.generator)


@dataclass
class Rollouts:
    """How the buffers of completions of a trial are filled.

    Attributes:
        curriculum: that chooses prompts, or draws those of flat groups anew.
        pool: the training rows that it chooses among, by its own numbers.
        boundary: optimizer steps that a buffer lasts.
        record: called with the number of steps done, rows and task rewards of a buffer that a
            curriculum learned from.
    """

    h: Hyperparameters
    curriculum: Curriculum
    pool: Sequence[int]
    boundary: int
    record: Callable[[int, list[int], list[float]], None]

    def __post_init__(self) -> None:
        self._number = {row: number for number, row in enumerate(self.pool)}

    @property
    def chooses(self) -> bool:
        """True if prompts are not those of the loader, or not in equal numbers."""
        return learns(self.h)

    def prompts(self, buffer: int, slots: int) -> list[int]:
        """The row of every slot of a buffer; equal ones are next to each other."""
        numbers = self.curriculum.choose(buffer, slots)
        if self.h.rl_allocation == "knapsack":
            distinct = list(dict.fromkeys(numbers))
            expected = self.curriculum.expected()[distinct].tolist()
            given = knapsack(expected, slots, self.h.rl_num_generations)
            numbers = [n for n, times in zip(distinct, given, strict=True) for _ in range(times)]
        return [self.pool[number] for number in numbers]

    def fresh(self, buffer: int, slots: int, without: list[int], turn: int) -> list[int]:
        """Rows in exchange for those of flat groups."""
        known = [self._number[row] for row in without if row in self._number]
        return [self.pool[n] for n in self.curriculum.choose(buffer, slots, known, turn)]

    def learn(self, rows: Sequence[int], rewards: Sequence[float]) -> None:
        """Shows the curriculum the task rewards of a buffer's completions."""
        known = [(self._number[row], r) for row, r in zip(rows, rewards, strict=True)]
        self.curriculum.observe([number for number, _ in known], [reward for _, reward in known])


class ExactGRPOTrainer(OwnSchedule, GRPOTrainer):
    """TRL's trainer, exact also when it is continued after the first epoch."""

    rollouts: Rollouts | None = None
    _rewards: Tensor  # of the last completions of all processes, a column for each term

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        theirs: Any = super()._get_train_sampler(dataset)
        return EpochSampler(
            theirs.data_source,
            theirs.mini_repeat_count,
            theirs.batch_size,
            theirs.repeat_count,
            seed=theirs.seed,
        )

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        self._rewards = super()._calculate_rewards(*args, **kwargs)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        rollouts, model = self.rollouts, self.model
        if rollouts is None or model is None or not model.training:
            return super()._generate_and_score_completions(inputs)
        buffer = self.state.global_step // rollouts.boundary
        if rollouts.chooses:
            slots = len(inputs) * self._processes // self._size
            inputs = self._examples(rollouts.prompts(buffer, slots))
        batch = super()._generate_and_score_completions(inputs)
        rows = self._rows(inputs)
        self._learn(rollouts, rows)
        total = self._total_rewards()
        if rollouts.h.rl_flat_groups == "resample":
            batch, rows, total = self._resampled(rollouts, buffer, batch, rows, total)
        if rollouts.h.rl_allocation == "knapsack":  # TRL's groups are slots, ours are prompts
            batch["advantages"] = self._own(advantages(total, rows, self.scale_rewards))
        if rollouts.h.rl_flat_groups == "mask":
            batch = masked(batch, self._own(flat(total, rows)), self.accelerator)
        if (kept := rollouts.h.rl_train_generations) is not None:
            batch = self._most_varied(batch, total, kept)
        return batch

    @property
    def _processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def _size(self) -> int:
        """Completions of a group."""
        return int(self.num_generations or 1)

    def _own(self, values: Tensor) -> Tensor:
        """The part of this process of what all of them know."""
        share = len(values) // self._processes
        begin = self.accelerator.process_index * share
        return values[begin : begin + share]

    def _examples(self, rows: list[int]) -> list[Batch]:
        """This process's inputs of slots for these rows, each `num_generations` times."""
        each = [row for row in rows for _ in range(self._size)]
        share = len(each) // self._processes
        begin = self.accelerator.process_index * share
        rows_of: Any = self.train_dataset
        return [rows_of[row] for row in each[begin : begin + share]]

    def _rows(self, inputs: list[Batch]) -> Tensor:
        """(completions,): the rows of the completions of all processes."""
        found = gather_object([int(example["row_index"]) for example in inputs])
        return torch.tensor(found, device=self.accelerator.device)

    def _total_rewards(self) -> Tensor:
        """(completions,): weighted sums of the terms, of all processes."""
        weights = self.reward_weights.to(self._rewards.device)
        return (self._rewards * weights.unsqueeze(0)).nansum(dim=1)

    def _learn(self, rollouts: Rollouts, rows: Tensor) -> None:
        task = self._rewards[:, 0].tolist()  # the first term is the task's own
        rollouts.learn(rows.tolist(), task)
        useful = 1.0 - flat(self._total_rewards(), rows).float().mean().item()
        self._metrics["train"]["useful_share"].append(useful)
        if rollouts.chooses:
            self._metrics["train"]["prompt_coverage"].append(rollouts.curriculum.coverage)
            rollouts.record(self.state.global_step, rows.tolist(), task)

    def _resampled(
        self, rollouts: Rollouts, buffer: int, batch: Batch, rows: Tensor, total: Tensor
    ) -> tuple[Batch, Tensor, Tensor]:
        """Flat groups in exchange for others, as far as a few rounds bring them.

        What is logged is of the first round: the survivors of several would flatter the policy.
        """
        size, slots = self._size, len(rows) // self._size
        told = {name: list(values) for name, values in self._metrics["train"].items()}
        for turn in range(1, 1 + (rollouts.h.rl_resample_rounds or DEFAULT_ROUNDS)):
            bad = flat(total, rows)[::size].tolist()
            if not any(bad):
                break
            fresh = rollouts.fresh(buffer, slots, rows.unique().tolist(), turn)
            other = super()._generate_and_score_completions(self._examples(fresh))
            other_rows = torch.tensor(fresh, device=rows.device).repeat_interleave(size)
            other_total = self._total_rewards()
            self._learn(rollouts, other_rows)
            source = exchanged(bad, flat(other_total, other_rows)[::size].tolist(), self._processes)
            take = completions_of(source, size).to(rows.device)
            rows = torch.cat([rows, other_rows])[take]
            total = torch.cat([total, other_total])[take]
            first, own = self.accelerator.process_index * (share := slots // self._processes), share
            local = [s - first if s < slots else s - slots - first + own for s in source]
            mine = completions_of(local[first : first + own], size).to(rows.device)
            batch = joined(batch, other, mine, self.accelerator, self._tokenizer.pad_token_id)
        tokens = self._metrics["train"]["num_tokens"]
        self._metrics["train"].clear()
        self._metrics["train"].update(told | {"num_tokens": tokens})
        return batch, rows, total

    def _most_varied(self, batch: Batch, total: Tensor, kept: int) -> Batch:
        """The batch with some completions of each group, and their advantages among themselves."""
        size = self._size
        groups = total.view(-1, size).tolist()
        chosen = [[g * size + i for i in most_varied(r, kept)] for g, r in enumerate(groups)]
        take = torch.tensor(chosen, device=total.device).flatten()
        own = self._own(take) - self.accelerator.process_index * len(batch["advantages"])
        batch = selected(batch, own, self.accelerator)
        return batch | {
            "advantages": self._own(advantages(total[take], take // size, self.scale_rewards))
        }
