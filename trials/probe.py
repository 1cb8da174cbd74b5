"""Scores models as they are: the base model before a run, the finalists on the test split.

    accelerate launch -m trials.probe request.json

Reads one ``ProbeRequest`` and writes a ``ProbeAnswer`` beside it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import set_seed

from trials.arguments import use_bf16
from trials.dataset import check_lengths, completion_limit, load_dataset
from trials.device import settle_device
from trials.errors import AutoPipeError
from trials.evaluate import Evaluator, fixed_subset
from trials.models import context_limit, load_model, load_tokenizer
from trials.probe_features import (
    PROBE_ROWS,
    PROBE_SAMPLES,
    PROBE_TEMPERATURE,
    completion_features,
    model_features,
    reward_features,
)
from trials.records import ProbeAnswer, ProbeRequest, SplitScore, read_record, write_json
from trials.rewards import build_reward
from trials.watchdog import end_with_supervisor


def main(request_file: Path) -> None:
    """Answers one request.

    Raises:
        AutoPipeError: when dataset, model or reward cannot be used.
    """
    end_with_supervisor()
    settle_device()
    request = read_record(request_file, ProbeRequest)
    set_seed(0)
    dataset = load_dataset(request.dataset)
    tokenizer = load_tokenizer(request.tokenizer)
    reward = build_reward(dataset, request.allow_user_code)
    limit = request.schedule.max_completion_tokens or completion_limit(dataset, tokenizer)
    rows = fixed_subset(dataset.splits[request.split], request.rows)
    state = PartialState()
    scores: dict[str, SplitScore] = {}
    features: dict[str, float] = {}
    parameters, seconds = 0, 0.0
    for label, folder in request.models.items():
        model = load_model(folder).to(state.device)
        parameters = model.num_parameters()
        if use_bf16(request.compute.precision, parameters):
            model = model.to(torch.bfloat16)
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
        answer = ProbeAnswer(
            scores=scores,
            features=features,
            parameters=parameters,
            max_completion_tokens=limit,
            seconds=seconds,
        )
        write_json(request_file.with_name("answer.json"), answer)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except AutoPipeError as refusal:
        # For the person who started the run: the parent shows this and not a traceback.
        Path(sys.argv[1]).with_name("refusal.txt").write_text(str(refusal), encoding="utf-8")
        sys.exit(1)
