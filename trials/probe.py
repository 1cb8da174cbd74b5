"""Scores models as they are: the base model before a run, the finalists on the test split.

    accelerate launch -m trials.probe REQUEST.json ...

Reads ``ProbeRequest`` files, each in a folder of its own, and writes into that folder a
``ProbeAnswer``, ``answer.json``, or what is wrong with dataset or model, ``refusal.txt``. One
process answers all of them, for its start costs more than a small answer.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed

from trials.arguments import use_bf16
from trials.dataset import check_lengths, completion_limit, load_dataset
from trials.device import settle_device
from trials.errors import AutoPipeError
from trials.evaluate import Evaluator
from trials.models import context_limit, load_model, load_tokenizer
from trials.probe_features import (
    PROBE_ROWS,
    PROBE_SAMPLES,
    PROBE_TEMPERATURE,
    completion_features,
    model_features,
    reward_features,
)
from trials.records import Compute, ProbeAnswer, ProbeRequest, SplitScore, read_record, write_json
from trials.rewards import build_reward
from trials.subsets import fixed_subset, rows_beyond
from trials.watchdog import end_with_supervisor
from trials.worker import output_to


class LastModel:
    """Loads models and keeps the last one: requests for one model that follow each other share it.

    An answer only looks at a model, so it is the same whether the model was loaded for it or not.
    """

    def __init__(self) -> None:
        self._key: tuple[str, str] | None = None
        self._model: Any = None

    def get(self, folder: str, compute: Compute) -> Any:
        """The model on the device of this process, in the precision that trials would use."""
        if self._key != (folder, compute.precision):
            self._model = None  # freed before the next one needs its place
            model = load_model(folder).to(PartialState().device)
            if use_bf16(compute.precision, model.num_parameters()):
                model = model.to(torch.bfloat16)
            self._key, self._model = (folder, compute.precision), model
        return self._model


def main(request_files: Sequence[Path]) -> int:
    """Answers requests, one after the other, each with a log of its own.

    Returns:
        How many are not answered: refused, or failed with a traceback in ``log.txt``.
    """
    end_with_supervisor()
    settle_device()
    models = LastModel()
    return sum(not _answered(file, models) for file in request_files)


def _answered(file: Path, models: LastModel) -> bool:
    with output_to(file.with_name("log.txt")):
        try:
            answer(file, models)
        except AutoPipeError as refusal:
            # For the person who started the run: the parent shows this and not a traceback.
            file.with_name("refusal.txt").write_text(str(refusal), encoding="utf-8")
        except Exception:
            if PartialState().num_processes > 1:
                raise  # the others may wait for this process
            traceback.print_exc()
        else:
            return True
    return False


def answer(request_file: Path, models: LastModel) -> None:
    """Answers one request.

    Raises:
        AutoPipeError: when dataset, model or reward cannot be used.
    """
    request = read_record(request_file, ProbeRequest)
    set_seed(0)
    dataset = load_dataset(request.dataset)
    tokenizer = load_tokenizer(request.tokenizer)
    reward = build_reward(dataset, request.allow_user_code)
    limit = request.schedule.max_completion_tokens or completion_limit(dataset, tokenizer)
    unseen = rows_beyond(dataset.splits[request.split], request.beyond)
    rows = fixed_subset(unseen, request.rows)
    state = PartialState()
    scores: dict[str, SplitScore] = {}
    features: dict[str, float] = {}
    parameters, seconds = 0, 0.0
    for label, folder in request.models.items():
        model = models.get(folder, request.compute)
        parameters = model.num_parameters()
        check_lengths(dataset, tokenizer, request.schedule.max_length, context_limit(model.config))
        start = time.monotonic()
        evaluator = Evaluator(
            tokenizer,
            rows,
            reward,
            limit,
            request.schedule.eval_batch_size,
            processes=state.num_processes,
            process_index=state.process_index,
            pass_k=request.schedule.pass_k,
            pass_samples=request.schedule.pass_samples,
            pass_temperature=request.schedule.pass_temperature,
        )
        scores[label] = evaluator(model)
        if evaluator.pass_k is not None:
            update = {"pass_at_k": evaluator.pass_at_k(model)}
            scores[label] = scores[label].model_copy(update=update)
        seconds += time.monotonic() - start
        if request.features and not features:
            sample = fixed_subset(dataset.splits["train"], PROBE_ROWS)
            sampler = replace(
                evaluator,
                rows=sample,
                pass_k=None,
                pass_samples=PROBE_SAMPLES,
                pass_temperature=PROBE_TEMPERATURE,
            )
            features = (
                model_features(model)
                | completion_features(model, tokenizer, sample)
                | reward_features(model, sampler)
            )
        del model
    if state.is_main_process:
        found = ProbeAnswer(
            scores=scores,
            features=features,
            parameters=parameters,
            max_completion_tokens=limit,
            seconds=seconds,
        )
        write_json(request_file.with_name("answer.json"), found)


if __name__ == "__main__":
    sys.exit(1 if main([Path(name) for name in sys.argv[1:]]) else 0)
