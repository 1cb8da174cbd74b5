"""Validation and test scores: greedy, batched, on a fixed subset, with their standard error.

Pass@k, from seeded samples, on request.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import StoppingCriteria, StoppingCriteriaList

from trials.data.dataset import Row, render
from trials.io.errors import SettingsError
from trials.models.loading import base_of, count_parameters, is_adapter, load_model
from trials.models.tokenizer import load_config
from trials.scoring.rewards import Reward
from trials.spec.arguments import use_bf16, weights_dtype
from trials.spec.records import SplitScore

# Sampling settings of the model's own generation_config have no say here.
GREEDY_DECODING = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}


def load_scored_model(
    folder: str, precision: Literal["auto", "float32", "bfloat16"], lora: bool
) -> tuple[Any, torch.dtype | None]:
    """A model, an adapter or a hub id to be scored as trials score theirs, and its autocast type.

    It is on the device of this process, and with ``lora`` held as the base model of adapters is.
    """
    adapter = is_adapter(folder)
    base = base_of(folder) if adapter else folder
    bf16 = use_bf16(precision, count_parameters(load_config(base)))
    model = load_model(folder, dtype=weights_dtype(lora or adapter, bf16))
    return model.to(PartialState().device), torch.bfloat16 if bf16 else None


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Autocast to a type; none where that is None."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


class DecodingClock(StoppingCriteria):
    """Reads the monotonic clock at first and after every token of a batch, and stops nothing."""

    def __init__(self) -> None:
        self.times = [time.monotonic()]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        self.times.append(time.monotonic())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@dataclass
class Evaluator:
    """Scores a model on fixed rows by the mean reward of its completions.

    Rows are dealt out to all processes, and their rewards gathered.

    Attributes:
        tokenizer: of the model; padded on the left here, whatever it does in training.
        batch_size: rows generated at once on each process.
        autocast: dtype of autocast, or None. The forward pass of a model in training is under it
            anyway; so a model that was only loaded is scored in the same precision.
        pass_k: the k of ``pass_at_k``, or None when it is not asked for.
        pass_samples: completions sampled for each row.
        seed: of that sampling; the same seed, model and batch size give the same samples.
        on_batch: called after each batch with the rows done and the rows in all of this process,
            so that others see life during a long evaluation.
        tokens: that all processes have put through a model so far, prompts and padding included.
        generation: of the last measurement on this process, on average over its batches: ``rows``
            of one, ``width`` of its prompts in tokens, ``prefill``, the seconds until its first
            token, and ``per_token``, the seconds of each one after that for all rows together.

    Raises:
        SettingsError: when ``pass_k`` is more than ``pass_samples``.
    """

    tokenizer: Any
    rows: Sequence[Row]
    reward: Reward
    max_new_tokens: int
    batch_size: int
    autocast: torch.dtype | None = None
    pass_k: int | None = None
    pass_samples: int = 8
    pass_temperature: float = 1.0
    seed: int = 0
    on_batch: Callable[[int, int], None] | None = None
    tokens: int = 0
    generation: dict[str, float] = field(default_factory=dict)
    _batches: list[tuple[int, int, list[float]]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.pass_k is not None and self.pass_k > self.pass_samples:
            raise SettingsError(
                f"pass_k={self.pass_k} is more than pass_samples={self.pass_samples}, and pass@k "
                "needs at least k samples of each row: raise pass_samples, or lower pass_k"
            )

    def __call__(self, model: Any) -> SplitScore:
        """Mean reward of greedy completions and its standard error s / sqrt(n).

        ``outcomes`` has one score for each row, in the order of ``rows``. Mode and random state
        are left as found.
        """
        scores = self._scores(model, samples=1, sampling=GREEDY_DECODING)[:, 0]
        return SplitScore(
            score=float(scores.mean()),
            score_se=standard_error(scores),
            rows=len(scores),
            outcomes=[float(score) for score in scores],
        )

    def pass_at_k(self, model: Any) -> float | None:
        """Share of rows that k samples solve at least once; None where ``pass_k`` is not set."""
        if self.pass_k is None:
            return None
        return pass_at_k(self.sampled(model), self.pass_k)

    def sampled(self, model: Any) -> np.ndarray:
        """Rewards of ``pass_samples`` seeded samples of every row, ``rows x samples``.

        Mode and random state are left as found.
        """
        sampling = {"do_sample": True, "temperature": self.pass_temperature, "top_k": 0}
        with _own_random_state(model.device, self.seed + PartialState().process_index):
            return self._scores(model, self.pass_samples, {**sampling, "top_p": 1.0, "min_p": None})

    def _scores(self, model: Any, samples: int, sampling: dict[str, Any]) -> np.ndarray:
        """Rewards of sampled completions, ``rows x samples``, the same on every process."""
        n, state = len(self.rows), PartialState()
        processes = state.num_processes
        # Every process has as many rows, so that none waits for another in a collective operation;
        # those that get one twice give the same score for it twice.
        mine = [(state.process_index + i * processes) % n for i in range(-(-n // processes))]
        work = [(index, sample) for index in mine for sample in range(samples)]
        before, was_training = self.tokens, model.training
        scores: dict[tuple[int, int], float] = {}
        self._batches = []
        model.eval()
        try:
            for start in range(0, len(work), self.batch_size):
                batch = work[start : start + self.batch_size]
                completions = self._complete(model, [self.rows[i] for i, _ in batch], sampling)
                for (index, sample), completion in zip(batch, completions, strict=True):
                    scores[index, sample] = self.reward(completion, self.rows[index])
                if self.on_batch:
                    self.on_batch((start + len(batch)) // samples, len(mine))
        finally:
            model.train(was_training)
        self.generation = _mean_generation(self._batches)
        if processes > 1:
            everything = gather_object([(scores, self.tokens - before)])
            scores = {key: score for part, _ in everything for key, score in part.items()}
            self.tokens = before + sum(tokens for _, tokens in everything)
        return np.array([[scores[i, sample] for sample in range(samples)] for i in range(n)])

    @torch.no_grad()
    def _complete(self, model: Any, rows: list[Row], sampling: dict[str, Any]) -> list[str]:
        prompts = [render(self.tokenizer, row.prompt, generation_prompt=True) for row in rows]
        batch = self.tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        ).to(model.device)
        clock = DecodingClock()
        with autocast(model.device, self.autocast):
            generated = model.generate(
                **batch,
                **sampling,
                max_new_tokens=self.max_new_tokens,
                repetition_penalty=1.0,
                use_cache=True,
                stopping_criteria=StoppingCriteriaList([clock]),
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=stop_tokens(model, self.tokenizer),
            )
        self.tokens += int(generated.numel())
        width = batch["input_ids"].shape[1]
        self._batches.append((len(rows), width, clock.times))
        completions = generated[:, width:]
        return list(self.tokenizer.batch_decode(completions, skip_special_tokens=True))


def _mean_generation(batches: Sequence[tuple[int, int, list[float]]]) -> dict[str, float]:
    """The means that `Evaluator.generation` has, of rows, width and times of batches."""
    decoded = sum(times[-1] - times[1] for _, _, times in batches)
    tokens = sum(len(times) - 2 for _, _, times in batches)
    return {
        "rows": statistics.fmean(rows for rows, _, _ in batches),
        "width": statistics.fmean(width for _, width, _ in batches),
        "prefill": round(statistics.fmean(times[1] - times[0] for *_, times in batches), 5),
        "per_token": round(decoded / tokens, 6) if tokens else 0.0,
    }


@contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds the generator of the device, and gives it back as it was; no other is touched."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def pass_at_k(rewards: np.ndarray, k: int) -> float:
    """Mean over rows of ``estimate_pass_at_k`` for rewards ``rows x samples``; 1 solves its row."""
    solved = (rewards >= 1 - 1e-9).sum(axis=1)
    samples = rewards.shape[1]
    return float(np.mean([estimate_pass_at_k(samples, int(c), k) for c in solved]))


def estimate_pass_at_k(samples: int, solved: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is right.

    1 - C(n - c, k) / C(n, k) for c right ones of n samples, as the product over i from n - c + 1 to
    n of 1 - k / i, which does not overflow (Chen et al., 2021, arXiv 2107.03374).
    """
    if samples - solved < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - solved + 1, samples + 1))


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
    spread = len(scores) > 1 and scores.std(ddof=1) > 0
    sample = scores if spread else np.append(scores, [0.0, 1.0])
    return float(sample.std(ddof=1) / np.sqrt(len(sample)))
