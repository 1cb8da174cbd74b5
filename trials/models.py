"""Models and tokenizers from a folder or the hub; no code of theirs is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
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

    Raises:
        ModelError: when it cannot be loaded, or lacks weights, which would be made up at random.
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
        # With output_loading_info it gives a pair, which its annotation does not say.
        from_pretrained: Any = AutoModelForCausalLM.from_pretrained
        loaded, found = from_pretrained(
            str(model),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with the sizes
        )
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # sizes and names in config.json fail wherever they are first used
        raise ModelError(
            f"model {str(model)!r} cannot be loaded: {_said(error)}\n"
            "  expected: a folder with config.json and safetensors weights that belong to each "
            "other, or a hub id"
        ) from None
    _refuse_made_up(str(model), found)
    return loaded


def _said(error: Exception) -> str:
    """What an error says; of a name that is not known its text holds no more than the name."""
    return f"{error} is not known" if isinstance(error, KeyError) else short(error)


def _refuse_made_up(model: str, found: Mapping[str, Any]) -> None:
    """Refuses a model with weights that transformers made up at random, which it only logs.

    Args:
        model: folder or hub id.
        found: what transformers says of the loading.

    Raises:
        ModelError: for weights that are missing, or of other sizes than config.json describes.
    """
    expected = "the config.json that belongs to the weights, and all of them"
    if other := sorted(found["mismatched_keys"]):
        name, has, needs = other[0]
        raise ModelError(
            f"config.json of model {model!r} describes {name} as {' x '.join(map(str, needs))}, "
            f"and the weights have {' x '.join(map(str, has))}\n  expected: {expected}"
        )
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"model {model!r} lacks {len(missing)} weights that its config.json describes, such as "
            f"{missing[0]}, and would be trained from random ones\n  expected: {expected}"
        )
