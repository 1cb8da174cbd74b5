"""Validation and test scores: greedy, batched, on a fixed subset, with their standard error."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from trials.dataset import Row, render
from trials.records import SplitScore
from trials.rewards import Reward


def fixed_subset(rows: Sequence[Row], size: int) -> list[Row]:
    """The same rows for every trial of a dataset: a sample that depends on nothing else."""
    if len(rows) <= size:
        return list(rows)
    chosen = sorted(random.Random(0).sample(range(len(rows)), size))
    return [rows[index] for index in chosen]


@dataclass
class Evaluator:
    """Scores a model on fixed rows by the mean reward of its greedy completions.

    Attributes:
        tokenizer: of the model; padded on the left here, whatever it does in training.
        rows: the rows to complete.
        reward: completion and row to a number.
        max_new_tokens: tokens generated at most.
        batch_size: rows generated at once on each process.
        processes: rows are dealt out to this many processes, and gathered.
        process_index: which of them this is.
        autocast: dtype of autocast on an accelerator, or None. On a CPU generation is bound by
            memory, and casting the weights for every token would only slow it down.
    """

    tokenizer: Any
    rows: Sequence[Row]
    reward: Reward
    max_new_tokens: int
    batch_size: int
    processes: int = 1
    process_index: int = 0
    autocast: torch.dtype | None = None
    tokens: int = 0

    def __call__(self, model: Any) -> SplitScore:
        """Mean reward and its standard error s / sqrt(n). Leaves mode and random state as found."""
        mine = list(range(self.process_index, len(self.rows), self.processes))
        was_training = model.training
        model.eval()
        outcomes: list[tuple[int, float]] = []
        try:
            for start in range(0, len(mine), self.batch_size):
                indices = mine[start : start + self.batch_size]
                completions = self._complete(model, [self.rows[index] for index in indices])
                outcomes += [
                    (index, self.reward(completion, self.rows[index]))
                    for index, completion in zip(indices, completions, strict=True)
                ]
        finally:
            model.train(was_training)
        if self.processes > 1:
            outcomes = gather_object(outcomes)
        scores = np.array([score for _, score in sorted(outcomes)])
        return SplitScore(
            score=float(scores.mean()),
            score_se=standard_error(scores),
            rows=len(scores),
            outcomes=[float(score) for score in scores],
        )

    @torch.no_grad()
    def _complete(self, model: Any, rows: list[Row]) -> list[str]:
        prompts = [render(self.tokenizer, row.prompt, generation_prompt=True) for row in rows]
        batch = self.tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        ).to(model.device)
        enabled = self.autocast is not None and model.device.type != "cpu"
        with torch.autocast(model.device.type, dtype=self.autocast, enabled=enabled):
            generated = model.generate(
                **batch,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                # Sampling settings of the model's own generation_config have no say here.
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                use_cache=True,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=stop_tokens(model, self.tokenizer),
            )
        self.tokens += int(generated.numel())
        completions = generated[:, batch["input_ids"].shape[1] :]
        return list(self.tokenizer.batch_decode(completions, skip_special_tokens=True))


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """End tokens of the tokenizer and of the model's generation config, as in training."""
    own = model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    return sorted({t for t in [tokenizer.eos_token_id, *listed] if t is not None})


def standard_error(scores: np.ndarray) -> float:
    """Standard error of the mean, s / sqrt(n), after Agresti and Coull (1998) at the ends.

    A sample that is all right or all wrong has no spread, but its mean is still not known exactly:
    then one success and one failure are added before the spread is taken.
    """
    sample = scores if scores.min() < scores.max() else np.append(scores, [0.0, 1.0])
    return float(sample.std(ddof=1) / np.sqrt(len(sample)))
