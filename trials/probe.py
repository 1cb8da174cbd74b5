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

from trials.arguments import use_bf16
from trials.dataset import Row, check_lengths, completion_limit, load_dataset, render
from trials.device import settle_device
from trials.errors import AutoPipeError, DatasetError, ModelError
from trials.evaluate import Evaluator, fixed_subset
from trials.models import context_limit, load_model, load_tokenizer
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


def _features(model: Any, tokenizer: Any, rows: list[Row], parameters: int) -> dict[str, float]:
    """Size of the model, and how it sees the data: lengths in tokens, loss on the completions.

    Raises:
        DatasetError: when no completion has any token.
        ModelError: when the loss of the model is not finite.
    """
    model.eval()
    losses, prompt_tokens, completion_tokens = [], [], []
    for row in rows:
        prompt = _tokens(tokenizer, render(tokenizer, row.prompt, generation_prompt=True))
        whole = _tokens(tokenizer, render(tokenizer, row.prompt + row.completion))
        prompt_tokens.append(len(prompt))
        completion_tokens.append(max(0, len(whole) - len(prompt)))
        if completion_tokens[-1]:  # without a token to predict there is no loss, but NaN
            losses.append(_completion_loss(model, len(prompt), whole))
    if not losses:
        raise DatasetError(
            f"none of the {len(rows)} completions looked at has a token with this model's "
            "tokenizer and chat template",
            path=rows[0].file or "train",
            line=rows[0].line,
            expected="completions with text, and a chat template that writes what the assistant "
            "says; mend the rows or the model's template",
        )
    loss = sum(losses) / len(losses)
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss of the model on the completions is {loss}\n  expected: a finite number; its "
            "weights are broken, or too large for bfloat16: choose another model"
        )
    return {
        "model_log_parameters": math.log10(parameters),
        "model_hidden_size": float(model.config.hidden_size),
        "model_layers": float(model.config.num_hidden_layers),
        "probe_loss": loss,
        "prompt_tokens": sum(prompt_tokens) / len(rows),
        "completion_tokens": sum(completion_tokens) / len(rows),
    }


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def _completion_loss(model: Any, prompt_tokens: int, whole: list[int]) -> float:
    labels = [-100] * prompt_tokens + whole[prompt_tokens:]
    output = model(
        input_ids=torch.tensor([whole], device=model.device),
        labels=torch.tensor([labels], device=model.device),
    )
    return float(output.loss)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except AutoPipeError as refusal:
        # For the person who started the run: the parent shows this and not a traceback.
        Path(sys.argv[1]).with_name("refusal.txt").write_text(str(refusal), encoding="utf-8")
        sys.exit(1)
