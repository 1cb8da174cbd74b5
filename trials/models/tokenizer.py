"""Tokenizers and configurations from a folder or the hub; none of their code runs.

PyTorch is not needed for these. Transformers asks on standard input whether to run code out of a
model folder unless ``trust_remote_code=False`` is passed.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoTokenizer

from trials.data.messages import PLAIN_TEMPLATE
from trials.io.errors import ModelError
from trials.io.problems import short


def load_config(model: str) -> Any:
    """Configuration of a model folder or hub id.

    Raises:
        ModelError: when there is none.
    """
    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # a configuration is checked by its class, which raises anything
        raise ModelError(
            f"model {model!r} cannot be loaded: {short(error)}\n"
            "  expected: a folder with config.json and safetensors weights, or a hub id"
        ) from None


def context_limit(config: Any) -> int:
    """Longest text in tokens; models with relative positions may name none."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def load_tokenizer(model: str) -> Any:
    """Tokenizer of a model folder or hub id; padding falls back to the end token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exceptions
        raise ModelError(
            f"no tokenizer for {model!r}: {short(error)}\n  expected: a model folder or a hub id"
        ) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {model!r} has no end token (eos_token), so no completion could end\n"
            "  expected: eos_token in its tokenizer_config.json, and pad_token if it is another"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer
