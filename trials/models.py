"""Models and tokenizers from a folder or the hub; no code of theirs is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from trials.errors import ModelError
from trials.tokenizer import context_limit, load_config, load_tokenizer, short

__all__ = [
    "context_limit",
    "count_parameters",
    "load_config",
    "load_model",
    "load_tokenizer",
]


def count_parameters(config: Any) -> int:
    """Parameters of a model, from its configuration alone; no weights are read."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return int(model.num_parameters())


def is_adapter(model: str | Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (Path(model) / "adapter_config.json").exists()


def base_of(adapter: str | Path) -> str:
    """The model that an adapter is for: folder or hub id."""
    from peft import PeftConfig

    return str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path)


def load_model(model: str | Path, trainable_adapter: bool = False, dtype: str = "float32") -> Any:
    """Model with weights of a type; a folder with an adapter is loaded on top of its base model.

    Without ``is_trainable`` PEFT loads adapters frozen, and training them changes nothing.
    """
    try:
        if is_adapter(model):
            from peft import PeftModel

            if not (Path(model) / "adapter_model.safetensors").exists():
                raise OSError("it has no adapter_model.safetensors; weights as pickles are refused")
            return PeftModel.from_pretrained(
                load_model(base_of(model), dtype=dtype), str(model), is_trainable=trainable_adapter
            )
        # Weights as pickles are refused: reading one may run code.
        return AutoModelForCausalLM.from_pretrained(
            str(model),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"model {str(model)!r} cannot be loaded: {short(error)}\n"
            "  expected: a folder with config.json and safetensors weights, or a hub id"
        ) from None
