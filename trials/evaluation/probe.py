"""Scores models as they are: the base model before a run, the finalists on the test split.

``trials.process.worker`` reads ``ProbeRequest`` files, each in a folder of its own, and writes into
that folder a ``ProbeAnswer``, ``answer.json``, or what is wrong with dataset or model,
``refusal.txt``.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed

from trials.data.dataset import Dataset, load_dataset
from trials.data.lengths import check_lengths, completion_limits
from trials.data.subsets import fixed_subset, rows_outside_subsets
from trials.evaluation.evaluate import Evaluator, autocast, load_scored_model
from trials.evaluation.measurement import ANSWER, REFUSAL
from trials.evaluation.probe_features import (
    PROBE_ROWS,
    PROBE_SAMPLES,
    PROBE_TEMPERATURE,
    completion_features,
    model_features,
    reward_features,
)
from trials.io.errors import AutoPipeError
from trials.io.output import output_to
from trials.models.tokenizer import context_limit, load_tokenizer
from trials.outcomes.failures import failure_of
from trials.scoring.reward_watch import WatchedReward
from trials.scoring.rewards import build_reward
from trials.spec.events import EventLog
from trials.spec.records import (
    Compute,
    ProbeAnswer,
    ProbeRequest,
    SplitScore,
    read_record,
    write_json,
)


class ModelCache:
    """Loads models and keeps the last one: requests for one model that follow each other share it.

    An answer only looks at a model, so it is the same whether the model was loaded for it or not.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, bool], tuple[Any, torch.dtype | None]] = {}

    def get(self, folder: str, compute: Compute, lora: bool) -> tuple[Any, torch.dtype | None]:
        """The model and the type of its autocast, as `load_scored_model` gives them."""
        key = folder, compute.precision, lora
        if key not in self._kept:
            self.drop()  # freed before the next one needs its place
            self._kept[key] = load_scored_model(*key)
        return self._kept[key]

    def drop(self) -> None:
        """Frees the model."""
        self._kept.clear()


def try_answer_request(file: Path, models: ModelCache) -> None:
    """Answers one request; where it cannot, why is in the request's folder."""
    folder = file.parent
    with output_to(folder / "log.txt"):
        try:
            answer_request(file, models)
        except AutoPipeError as refusal:
            # For the person who started the run: the parent shows this and not a traceback.
            (folder / REFUSAL).write_text(str(refusal), encoding="utf-8")
        except Exception as error:
            traceback.print_exc()
            state = PartialState()
            failure = failure_of(error, folder)
            write_json(folder / f"failure.{state.process_index}.json", failure)
            if state.num_processes > 1:
                raise  # the others may wait for this process


def answer_request(request_file: Path, models: ModelCache) -> None:
    """Answers one request.

    Raises:
        AutoPipeError: when dataset, model or reward cannot be used.
    """
    request, folder = read_record(request_file, ProbeRequest), request_file.parent
    state = PartialState()
    events = EventLog(folder / "events.jsonl", active=state.is_main_process)
    events.write("phase", phase="loading")
    set_seed(0)
    dataset = load_dataset(request.dataset)
    tokenizer = load_tokenizer(request.tokenizer)
    evaluator = _evaluator(request, dataset, tokenizer, folder)
    scores: dict[str, SplitScore] = {}
    features: dict[str, float] = {}
    parameters, seconds, longest = 0, 0.0, 0
    for label, path in request.models.items():
        events.write("phase", phase=f"loading {label}")
        model, evaluator.autocast = models.get(path, request.compute, request.lora)
        parameters = model.num_parameters()
        limit = context_limit(model.config)
        longest = check_lengths(dataset, tokenizer, request.schedule.max_length, limit)
        _tell(evaluator, events, f"scoring {label}")
        start = time.monotonic()
        scored = evaluator(model)
        scores[label] = scored.model_copy(update={"pass_at_k": evaluator.pass_at_k(model)})
        seconds += time.monotonic() - start
        if request.features and not features:
            _tell(evaluator, events, f"describing {label}")
            with autocast(model.device, evaluator.autocast):
                features = _features(request, model, evaluator, dataset)
        del model
    if state.is_main_process:
        found = ProbeAnswer(
            scores=scores,
            features=features,
            parameters=parameters,
            max_completion_tokens=evaluator.max_new_tokens,
            longest_row=longest,
            seconds=seconds,
        )
        write_json(folder / ANSWER, found)
    events.close()


def _evaluator(request: ProbeRequest, dataset: Dataset, tokenizer: Any, folder: Path) -> Evaluator:
    schedule, reward = request.schedule, build_reward(dataset, request.allow_user_code)
    rows = rows_outside_subsets(dataset.splits[request.split], request.beyond)
    return Evaluator(
        tokenizer,
        fixed_subset(rows, request.rows),
        WatchedReward(reward, folder, PartialState().process_index),
        schedule.max_completion_tokens or completion_limits(dataset, tokenizer)[0],
        schedule.eval_batch_size,
        pass_k=schedule.pass_k,
        pass_samples=schedule.pass_samples,
        pass_temperature=schedule.pass_temperature,
    )


def _tell(evaluator: Evaluator, events: EventLog, what: str) -> None:
    """Has the evaluator write a sign of life after each batch."""

    events.write("phase", phase=what)
    evaluator.on_batch = lambda done, rows: events.write(
        "evaluating", what=what, done=done, rows=rows
    )


def _features(
    request: ProbeRequest, model: Any, evaluator: Evaluator, dataset: Dataset
) -> dict[str, float]:
    """Meta-features of model and dataset, from as many rows as are asked for."""
    looked = PROBE_ROWS if request.feature_rows is None else request.feature_rows
    sampled = PROBE_ROWS if request.sampled_rows is None else request.sampled_rows
    features = model_features(model)
    if looked:
        rows = fixed_subset(dataset.splits["train"], looked)
        features |= completion_features(model, evaluator.tokenizer, rows)
    if sampled:
        sampler = replace(
            evaluator,
            rows=fixed_subset(dataset.splits["train"], sampled),
            pass_k=None,
            pass_samples=PROBE_SAMPLES,
            pass_temperature=PROBE_TEMPERATURE,
        )
        features |= reward_features(model, sampler)
    return features
