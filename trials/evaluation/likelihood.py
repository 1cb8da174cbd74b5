"""The likelihood of reference completions: what a model thinks of the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trials.data.dataset import Row
from trials.evaluation.evaluate import autocast


def log_likelihood(
    model: Any, tokenizer: Any, rows: Sequence[Row], batch_size: int, dtype: torch.dtype | None
) -> np.ndarray:
    """(n,) log p(completion | prompt) of every row's reference, in nats, summed over its tokens.

    A row without a completion is taken to have its answer as one. Mode is left as found. The model
    sees the rows in the order of their length, `batch_size` at once.
    """
    texts = [_tokens(tokenizer, row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: len(texts[i][0]))
    found, was_training = np.zeros(len(rows)), model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            values = _batch(model, tokenizer, [texts[i] for i in batch], dtype)
            found[batch] = values.cpu().numpy()
    finally:
        model.train(was_training)
    return found


def _tokens(tokenizer: Any, row: Row) -> tuple[list[int], int]:
    """Tokens of prompt and completion, and how many of them are the prompt's."""
    completion = row.completion or [{"role": "assistant", "content": row.answer}]
    prompt = tokenizer.apply_chat_template(
        row.prompt, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    whole = tokenizer.apply_chat_template(
        [*row.prompt, *completion], tokenize=True, return_dict=False
    )
    return list(whole), len(prompt)


@torch.no_grad()
def _batch(
    model: Any, tokenizer: Any, texts: Sequence[tuple[list[int], int]], dtype: torch.dtype | None
) -> torch.Tensor:
    width = max(len(tokens) for tokens, _ in texts)
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([tokens + [pad] * (width - len(tokens)) for tokens, _ in texts])
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens, _ in texts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    with autocast(model.device, dtype):
        logits = model(input_ids=ids, attention_mask=mask).logits
    # Row by row, and of the completion alone: in float32 logits are the largest thing there is.
    found = []
    for row, (tokens, prompt) in enumerate(texts):
        log_p = torch.log_softmax(logits[row, prompt - 1 : len(tokens) - 1].float(), dim=-1)
        found.append(log_p.gather(1, ids[row, prompt : len(tokens), None]).sum())
    return torch.stack(found)
