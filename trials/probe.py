"""Scores models as they are: the base model before a run, the finalists on the test split.

    accelerate launch -m trials.probe request.json

Reads one ``ProbeRequest`` and writes a ``ProbeAnswer`` beside it.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed

from trials.arguments import BF16_MIN_PARAMETERS
from trials.context import load_model, load_tokenizer
from trials.dataset import Row, check_lengths, completion_limit, load_dataset, render
from trials.errors import AutoPipeError
from trials.evaluate import Evaluator, fixed_subset
from trials.records import ProbeAnswer, ProbeRequest, SplitScore, read_record, write_json
from trials.rewards import build_reward
from trials.watchdog import end_with_supervisor

PROBE_ROWS = 32


def main(request_file: Path) -> None:
    """Answers one request.

    Raises:
        AutoPipeError: when dataset, model or reward cannot be used.
    """
    end_with_supervisor()
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
        if parameters >= BF16_MIN_PARAMETERS:
            model = model.to(torch.bfloat16)
        context_limit = model.config.max_position_embeddings
        check_lengths(dataset, tokenizer, request.schedule.max_length, context_limit)
        start = time.monotonic()
        scores[label] = Evaluator(
            tokenizer,
            rows,
            reward,
            limit,
            request.schedule.eval_batch_size,
            processes=state.num_processes,
            process_index=state.process_index,
        )(model)
        seconds += time.monotonic() - start
        if request.features and not features:
            sample = fixed_subset(dataset.splits["train"], PROBE_ROWS)
            features = _features(model, tokenizer, sample, parameters)
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


@torch.no_grad()
def _features(model: Any, tokenizer: Any, rows: list[Row], parameters: int) -> dict[str, float]:
    """Size of the model, and how it sees the data: lengths in tokens, loss on the completions."""
    model.eval()
    losses, prompt_tokens, completion_tokens = [], [], []
    for row in rows:
        prompt = tokenizer(
            render(tokenizer, row.prompt, generation_prompt=True), add_special_tokens=False
        )["input_ids"]
        whole = tokenizer(render(tokenizer, row.prompt + row.completion), add_special_tokens=False)[
            "input_ids"
        ]
        labels = [-100] * len(prompt) + whole[len(prompt) :]
        output = model(
            input_ids=torch.tensor([whole], device=model.device),
            labels=torch.tensor([labels], device=model.device),
        )
        losses.append(float(output.loss))
        prompt_tokens.append(len(prompt))
        completion_tokens.append(len(whole) - len(prompt))
    n = len(rows)
    return {
        "model_log_parameters": math.log10(parameters),
        "model_hidden_size": float(model.config.hidden_size),
        "model_layers": float(model.config.num_hidden_layers),
        "probe_loss": sum(losses) / n,
        "prompt_tokens": sum(prompt_tokens) / n,
        "completion_tokens": sum(completion_tokens) / n,
    }


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except AutoPipeError as refusal:
        # For the person who started the run: the parent shows this and not a traceback.
        Path(sys.argv[1]).with_name("refusal.txt").write_text(str(refusal), encoding="utf-8")
        sys.exit(1)
