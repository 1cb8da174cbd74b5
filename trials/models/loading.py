"""Models and tokenizers from a folder or the hub; no code of theirs is ever run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM
from transformers.integrations import is_deepspeed_zero3_enabled

from trials.io.errors import ModelError
from trials.io.problems import short
from trials.models.check import BELONGING, LAYER, check_folder
from trials.models.tokenizer import load_config

MOST_COMPUTED = 2**30  # numbers that a model computes from its configuration, as masks
# How configurations name layers that predict further tokens; they follow those of the model.
FURTHER_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_layers")


def settle_device() -> None:
    """Tells Accelerate to use the CPU where there is no GPU.

    Left to itself it learns that when the first trainer is built: until then each of several
    processes on a CPU would take itself for the only one.
    """
    PartialState(cpu=not torch.cuda.is_available())


def count_parameters(config: Any) -> int:
    """Parameters of a model, from its configuration alone; no weights are read."""
    return int(_outline(config).num_parameters())


def _outline(config: Any) -> Any:
    """The model of a configuration without memory for its numbers."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def is_adapter(model: str | Path) -> bool:
    """True if a folder holds an adapter and no model of its own."""
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
        _refuse_larger(str(model))
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
        # The text of a KeyError would be no more than the name.
        said = f"{error} is not known" if isinstance(error, KeyError) else short(error)
        raise ModelError(
            f"model {str(model)!r} cannot be loaded: {said}\n"
            "  expected: a folder with config.json and safetensors weights that belong to each "
            "other, or a hub id"
        ) from None
    _refuse_made_up(str(model), found)
    _refuse_left_out(str(model), found["unexpected_keys"], loaded)
    return loaded


def _refuse_larger(model: str) -> None:
    """Refuses a configuration that asks for far more memory than its weights would fill.

    What the weights lack would be made up at random, so memory is taken for it before it can be
    refused by its name.
    """
    if not Path(model).is_dir():
        return  # a hub id, which is not looked at before it is fetched
    held = check_folder(Path(model)).parameters
    if is_deepspeed_zero3_enabled():
        return  # it splits whatever is built over the GPUs at once, an outline as well
    outline = _outline(load_config(model))
    needed = sum(tensor.numel() for tensor in outline.parameters())
    computed = sum(tensor.numel() for tensor in outline.buffers())
    # Tied matrices are kept once, so an honest model is at most twice what its file holds.
    if needed > 2 * held or computed > MOST_COMPUTED:
        raise ModelError(
            f"config.json of model {model!r} describes a model of {needed + computed:,} numbers, "
            f"and the weights have {held:,}\n  expected: {BELONGING}"
        )


def _refuse_left_out(model: str, unexpected: Iterable[str], loaded: Any) -> None:
    """Refuses a model of which layers or biases would be left out, which transformers only logs.

    Other heads, other towers and buffers of older versions may be left out: the model has nothing
    of that name.
    """
    known = loaded.state_dict().keys()
    numbered = {each for name in known for each in _numbered(name)}
    stems = {stem for stem, _ in numbered}
    text = loaded.config.get_text_config()
    further = max((getattr(text, name, None) or 0 for name in FURTHER_LAYERS), default=0)
    left: list[str] = []
    beyond: set[str] = set()
    for name in sorted(unexpected):
        more = [each for each in _numbered(name) if each[0] in stems and each not in numbered]
        if more:
            beyond.add("".join(more[0]))
        if more or (name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in known):
            left.append(name)
    if len(beyond) <= further:
        left = [name for name in left if not name.startswith(tuple(f"{each}." for each in beyond))]
    if left:
        raise ModelError(
            f"model {model!r} has {len(left)} weights that its config.json does not describe, such "
            f"as {left[0]}, and would be trained without them\n  expected: {BELONGING}"
        )


def _numbered(name: str) -> list[tuple[str, str]]:
    """Every number within the name of a tensor, as that of its layer, after what it numbers."""
    return [(name[: found.start(1)], found[1]) for found in LAYER.finditer(name)]


def _refuse_made_up(model: str, found: Mapping[str, Any]) -> None:
    """Refuses a model with weights that transformers made up at random, which it only logs."""
    if other := sorted(found["mismatched_keys"]):
        name, has, needs = other[0]
        raise ModelError(
            f"config.json of model {model!r} describes {name} as {' x '.join(map(str, needs))}, "
            f"and the weights have {' x '.join(map(str, has))}\n  expected: {BELONGING}"
        )
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"model {model!r} lacks {len(missing)} weights that its config.json describes, such as "
            f"{missing[0]}, and would be trained from random ones\n  expected: {BELONGING}"
        )
