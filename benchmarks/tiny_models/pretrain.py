"""Pretrain the tiny model family on a CPU.

    python -m benchmarks.tiny_models.pretrain --tokenizer
    python -m benchmarks.tiny_models.pretrain --size 1m

Settings are read from `params.yaml`; each model lands in `data/models/tiny-<size>` as a folder that
`from_pretrained` loads. One thread, float32 and a seed: the same settings give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import Progress
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from benchmarks.tiny_models.mixture import curriculum, tokenizer_texts
from benchmarks.tiny_models.skills import Example

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "data" / "catalog.yaml"
MODELS = ROOT / "data" / "models"
TOKENIZER = MODELS / "tokenizer"
PAD, USER, ASSISTANT, SYSTEM, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
CONTEXT = 512
IGNORED = -100


def train_tokenizer(catalog: Path, vocabulary: int, examples: int, seed: int) -> Tokenizer:
    """Byte-level BPE on basics and forms, half of each; every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, USER, ASSISTANT, SYSTEM, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_texts(catalog, examples, seed), trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Save with the chat template, in the form that `AutoTokenizer` loads."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
        padding_side="left",
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    # The class's present name is unknown to older releases; this one is known to all.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def build_model(settings: dict[str, Any], vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A Llama with tied embeddings and random float32 weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings["hidden_size"],
        intermediate_size=settings["intermediate_size"],
        num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"],
        num_key_value_heads=settings["heads"],
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        # Wider than the usual 0.02, which at this width makes attention slow to start learning.
        initializer_range=0.06,
        bos_token_id=None,
        eos_token_id=4,
        pad_token_id=0,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: Any, examples: list[Example]) -> list[tuple[list[int], int]]:
    """Token ids of each chat and the length of its prompt (generation prompt included)."""
    user, assistant, end = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, END])
    questions = tokenizer([question for question, _ in examples])["input_ids"]
    answers = tokenizer([answer for _, answer in examples])["input_ids"]
    encoded = []
    for question, answer in zip(questions, answers, strict=True):
        prompt = [user, *question, end, assistant]
        encoded.append(([*prompt, *answer, end], len(prompt)))
    return encoded


def batches(
    encoded: list[tuple[list[int], int]], size: int, seed: int
) -> Iterator[list[tuple[list[int], int]]]:
    """Batches of chats of similar length from a window that moves along the curriculum.

    Little padding, and no order by length: batches of one window come in random order.
    """
    rng = random.Random(seed)
    window = size * 64
    for start in range(0, len(encoded), window):
        part = sorted(encoded[start : start + window], key=lambda chat: len(chat[0]))
        groups = [part[index : index + size] for index in range(0, len(part), size)]
        rng.shuffle(groups)
        yield from (group for group in groups if len(group) == size)


def loss_of(
    model: LlamaForCausalLM, batch: list[tuple[list[int], int]], prompt_weight: float
) -> torch.Tensor:
    """Mean token loss of the completions plus `prompt_weight` times that of the prompts.

    Padding is on the right, where a causal model cannot see it, so no attention mask is needed.
    """
    chats = [torch.tensor(ids) for ids, _ in batch]
    inputs = pad_sequence(chats, batch_first=True)
    labels = pad_sequence(chats, batch_first=True, padding_value=IGNORED)
    prompts = torch.tensor([prompt for _, prompt in batch])
    completion = torch.arange(inputs.shape[1]) >= prompts[:, None]
    logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    known = labels[:, 1:] != IGNORED
    answered, asked = known & completion[:, 1:], known & ~completion[:, 1:]
    return losses[answered].mean() + prompt_weight * losses[asked].mean()


def pretrain(
    model: LlamaForCausalLM,
    encoded: list[tuple[list[int], int]],
    settings: dict[str, Any],
    seed: int,
    max_steps: int | None = None,
) -> float:
    """Train a model with AdamW, warm-up and cosine decay, in one pass over the chats of `encode`.

    The settings are `batch_size`, `learning_rate`, `prompt_weight`; the seed orders the batches.
    The schedule keeps its full length where `max_steps` ends it sooner.

    Returns:
        The mean loss of the last hundred steps, in nats per token.
    """
    steps = len(list(batches(encoded, settings["batch_size"], seed)))
    rate = settings["learning_rate"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = max(1, steps // 20)
    recent: list[float] = []
    model.train()
    with Progress() as progress:
        task = progress.add_task("pretraining", total=max_steps or steps)
        for step, batch in enumerate(batches(encoded, settings["batch_size"], seed)):
            if step == max_steps:
                break
            decay = 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / warmup) * max(decay, 0.05)
            loss = loss_of(model, batch, settings["prompt_weight"])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            recent = [*recent[-99:], loss.item()]
            progress.update(task, advance=1, description=f"loss {sum(recent) / len(recent):.3f}")
    return sum(recent) / len(recent)


CARD = """---
library_name: transformers
pipeline_tag: text-generation
---
# tiny-{size}

A Llama of {parameters:,} parameters ({layers} layers, hidden size {hidden_size}, vocabulary
{vocabulary}, context {context}), one of a family of three. It exists so that a whole post-training
run, supervised and reinforced, takes seconds on one processor core; it is of no use for anything
else.

It was pretrained from scratch on short generated chats, seed {seed}, final loss {loss:.3f}: first
{basics:,} on basics (copying, counting, comparing, one-digit arithmetic), then {mixed:,} of which
three quarters are skills beneath the tasks in `data/catalog.yaml`, asked in other words than
theirs. No text written by people was used.

Made by `python -m benchmarks.tiny_models.pretrain --size {size}` with the settings in
`params.yaml`; `dvc repro` makes it again.
"""


def save_model(model: LlamaForCausalLM, size: str, folder: Path, facts: dict[str, Any]) -> None:
    """Weights, configuration, tokenizer and model card, so that the folder stands alone."""
    shutil.rmtree(folder, ignore_errors=True)
    model.generation_config = GenerationConfig(
        eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    model.save_pretrained(folder)
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder / file.name)
    (folder / "README.md").write_text(CARD.format(size=size, **facts), encoding="utf-8")


def run(size: str, params: dict[str, Any]) -> None:
    """Pretrain one size and save it."""
    torch.set_num_threads(1)
    settings = {**params["pretrain"]["common"], **params["pretrain"]["sizes"][size]}
    seed = settings["seed"]
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, trust_remote_code=False)
    model = build_model(settings, len(tokenizer), seed)
    examples = curriculum(settings["basics"], settings["mixed"], seed)
    encoded = encode(tokenizer, examples)
    loss = pretrain(model, encoded, settings, seed)
    facts = {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "context": CONTEXT,
        "loss": loss,
        **settings,
    }
    save_model(model, size, MODELS / f"tiny-{size}", facts)
    print(json.dumps({key: facts[key] for key in ("parameters", "loss")}))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tokenizer", action="store_true", help="train the shared tokenizer")
    what.add_argument("--size", help="pretrain this size, one of `pretrain.sizes`")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="settings")
    arguments = parser.parse_args()
    params = yaml.safe_load(arguments.params.read_text(encoding="utf-8"))
    if arguments.tokenizer:
        save_tokenizer(train_tokenizer(CATALOG, **params["tokenizer"]), TOKENIZER)
    elif arguments.size not in params["pretrain"]["sizes"]:
        parser.error(f"--size {arguments.size}: choose from {list(params['pretrain']['sizes'])}")
    else:
        run(arguments.size, params)


if __name__ == "__main__":
    main()
