"""Cheap meta-features: a base model on a dataset before any training.

Two looks at a few rows of the training split: what the model thinks of the given completions, and
what it answers itself, in several samples of each row. Where samples of one row differ in reward,
GRPO has something to learn from; where they never do, it has not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from trials.data.dataset import Row, render
from trials.evaluation.evaluate import Evaluator, pass_at_k
from trials.io.errors import DatasetError, ModelError

# Part of the key under which answers are kept: to be raised when a feature is added or changed.
PROBE_VERSION = 3
PROBE_ROWS = 32
PROBE_SAMPLES = 8
PROBE_TEMPERATURE = 1.0


def model_features(model: Any) -> dict[str, float]:
    """Size of a model: log10 of its parameters, hidden units, layers."""
    return {
        "model_log_parameters": math.log10(model.num_parameters()),
        "model_hidden_size": float(model.config.hidden_size),
        "model_layers": float(model.config.num_hidden_layers),
    }


def completion_features(model: Any, tokenizer: Any, rows: list[Row]) -> dict[str, float]:
    """The likelihood of the given completions under the model: means over rows.

    Returns:
        prompt_tokens, completion_tokens; probe_loss (nats a token), probe_accuracy (share of tokens
        that are the likeliest), probe_entropy (nats a token).

    Raises:
        DatasetError: when no completion has any token.
        ModelError: when the loss of the model is not finite.
    """
    model.eval()
    looks, prompt_tokens, completion_tokens = [], [], []
    for row in rows:
        prompt = _tokens(tokenizer, render(tokenizer, row.prompt, generation_prompt=True))
        whole = _tokens(tokenizer, render(tokenizer, row.prompt + row.completion))
        prompt_tokens.append(len(prompt))
        completion_tokens.append(max(0, len(whole) - len(prompt)))
        if completion_tokens[-1]:  # without a token to predict there is no loss, but NaN
            looks.append(_look(model, len(prompt), whole))
    if not looks:
        raise DatasetError(
            f"none of the {len(rows)} completions looked at has a token with this model's "
            "tokenizer and chat template",
            path=rows[0].file or "train",
            line=rows[0].line,
            expected="completions with text, and a chat template that writes what the assistant "
            "says; fix the rows or the model's template",
        )
    loss, accuracy, entropy = np.mean(looks, axis=0)
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss of the model on the completions is {loss}\n  expected: a finite number; its "
            "weights are broken, or too large for bfloat16: choose another model"
        )
    return {
        "prompt_tokens": float(np.mean(prompt_tokens)),
        "completion_tokens": float(np.mean(completion_tokens)),
        "probe_loss": float(loss),
        "probe_accuracy": float(accuracy),
        "probe_entropy": float(entropy),
    }


def reward_features(model: Any, evaluator: Evaluator) -> dict[str, float]:
    """The rewards that the model earns untrained, by samples of each row at temperature 1.

    Returns:
        sampled_reward (mean), sampled_reward_sd (mean over rows of the standard deviation between
        the samples of a row), sampled_spread_share (share of rows whose samples differ in reward),
        pass_at_1 and pass_at_8 (share of rows solved by one, by any of 8 samples).
    """
    rewards = evaluator.sampled(model)
    return {
        "sampled_reward": float(rewards.mean()),
        "sampled_reward_sd": float(rewards.std(axis=1).mean()),
        "sampled_spread_share": float((np.ptp(rewards, axis=1) > 0).mean()),
        "pass_at_1": pass_at_k(rewards, 1),
        f"pass_at_{PROBE_SAMPLES}": pass_at_k(rewards, PROBE_SAMPLES),
    }


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def _look(model: Any, prompt_tokens: int, whole: list[int]) -> tuple[float, float, float]:
    """Loss, share of likeliest tokens and entropy, means over the tokens of one completion."""
    tokens = torch.tensor([whole], device=model.device)
    first = max(prompt_tokens, 1)  # nothing comes before the first token to predict it from
    logits = model(input_ids=tokens).logits[0, first - 1 : -1].float()
    logp = logits.log_softmax(dim=-1)
    answer = tokens[0, first:]
    loss = -logp.gather(1, answer[:, None]).mean()
    accuracy = (logp.argmax(dim=-1) == answer).float().mean()
    entropy = -(logp.exp() * logp).nansum(dim=-1).mean()
    return float(loss), float(accuracy), float(entropy)
