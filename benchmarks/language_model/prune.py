"""A smaller model with the same tokenizer: fewer layers, then a short distillation.

The layers that are kept are spread evenly, the first and the last among them. The small model then
learns to predict as the large one does,

    loss = KL(p_large(. | x) || p_small(. | x)), mean over the tokens of chats

at a rate that is warmed up over a tenth of the steps and falls linearly to zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trials.data.dataset import Row
from trials.io.atomic import new_folder
from trials.models.loading import load_model
from trials.models.tokenizer import load_tokenizer

RATE = 5e-4
WARM_UP = 0.1  # share of the steps
BATCH, LENGTH = 8, 64  # chats, and tokens of each
CLIP = 1.0  # norm of the gradient
SAY_EVERY = 30.0  # seconds


def kept_layers(count: int, layers: int) -> list[int]:
    """Indices of the layers that are kept, the first and the last among them.

    Raises:
        ValueError: fewer than two are kept, or more than there are.
    """
    if not 2 <= layers <= count:
        raise ValueError(f"{layers} layers: expected 2 to {count}, as many as the model has")
    return [round(i * (count - 1) / (layers - 1)) for i in range(layers)]


def prune(model: Any, layers: int) -> Any:
    """A copy of a decoder with so many of its layers."""
    kept = kept_layers(len(model.model.layers), layers)
    config = type(model.config)(**model.config.to_dict() | {"num_hidden_layers": layers})
    small = type(model)(config)
    small.model.load_state_dict(
        {
            name: value
            for name, value in model.model.state_dict().items()
            if not name.startswith("layers.")
        },
        strict=False,
    )
    small.lm_head.load_state_dict(model.lm_head.state_dict())
    for layer, index in zip(small.model.layers, kept, strict=True):
        layer.load_state_dict(model.model.layers[index].state_dict())
    small.tie_weights()
    return small


def distil(
    large: nn.Module,
    small: nn.Module,
    batches: Iterator[dict[str, Tensor]],
    steps: int,
    say: Callable[[str], None],
) -> None:
    """Trains the small model in place, for so many steps."""
    optimizer = torch.optim.AdamW(small.parameters(), lr=RATE, weight_decay=0.0)
    large.eval()
    small.train()
    said = time.monotonic()
    for step, batch in enumerate(islice(batches, steps), 1):
        share = step / (steps + 1)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(share / WARM_UP, (1.0 - share) / (1.0 - WARM_UP))
        with torch.no_grad():
            wanted = large(**batch).logits.log_softmax(-1)
        found = small(**batch).logits.log_softmax(-1)
        token = batch["attention_mask"].bool()
        loss = (wanted.exp() * (wanted - found)).sum(-1)[token].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(small.parameters(), CLIP)
        optimizer.step()
        if time.monotonic() - said > SAY_EVERY or step == steps:
            said = time.monotonic()
            say(f"step {step} of {steps}: KL {loss.item():.3f}")


def chat_batches(
    tokenizer: Any, rows: Sequence[Row], generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Batches of chats in a random order, again and again."""
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = [rows[i] for i in order[start : start + BATCH]]
            texts = [
                tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
                for row in chosen
            ]
            yield dict(
                tokenizer(
                    texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
                )
            )


def make_proxy(
    model: str,
    rows: Sequence[Row],
    out: Path,
    layers: int,
    steps: int,
    seed: int,
    say: Callable[[str], None],
) -> Path:
    """Writes a pruned and distilled model as a folder, with the tokenizer of the large one."""
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(model)
    large = load_model(model)
    small = prune(large, layers)
    say(
        f"{layers} of {len(large.model.layers)} layers, {small.num_parameters() / 1e6:.1f} of "
        f"{large.num_parameters() / 1e6:.1f} million parameters"
    )
    generator = torch.Generator().manual_seed(seed)
    distil(large, small, chat_batches(tokenizer, rows, generator), steps, say)
    with new_folder(out) as draft:
        small.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return out
