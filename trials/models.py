"""Models and tokenizers from a folder or the hub; no code of theirs is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trials.errors import ModelError

# For base models that have none: the texts, a line each, and the end token after the answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
)


def load_config(model: str) -> Any:
    """Configuration of a model folder or hub id.

    Raises:
        ModelError: when there is none.
    """
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {model!r} cannot be loaded: {error}\n"
            "  expected: a folder with config.json and safetensors weights, or a hub id"
        ) from None


def count_parameters(config: Any) -> int:
    """Parameters of a model, from its configuration alone; no weights are read."""
    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def context_limit(config: Any) -> int:
    """Longest text in tokens; models with relative positions may name none."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def load_tokenizer(model: str) -> Any:
    """Tokenizer of a model folder or hub id; padding falls back to the end token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer for {model!r}: {error}\n  expected: a model folder or a hub id"
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def load_model(model: str | Path, trainable_adapter: bool = False, dtype: str = "float32") -> Any:
    """Model with weights of a type; a folder with an adapter is loaded on top of its base model.

    Without ``is_trainable`` PEFT loads adapters frozen, and training them changes nothing.
    """
    try:
        if (Path(model) / "adapter_config.json").exists():
            from peft import PeftConfig, PeftModel

            if not (Path(model) / "adapter_model.safetensors").exists():
                raise OSError("it has no adapter_model.safetensors; weights as pickles are refused")
            base = PeftConfig.from_pretrained(str(model)).base_model_name_or_path
            return PeftModel.from_pretrained(
                load_model(str(base), dtype=dtype), str(model), is_trainable=trainable_adapter
            )
        # Weights as pickles are refused: reading one may run code.
        return AutoModelForCausalLM.from_pretrained(
            str(model), dtype=getattr(torch, dtype), use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {str(model)!r} cannot be loaded: {error}\n"
            "  expected: a folder with config.json and safetensors weights, or a hub id"
        ) from None
