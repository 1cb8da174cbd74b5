"""The size of a model, found before anything of it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tasks.inputs.catalog import load_catalog, resolve_model
from tasks.inputs.chats import model_folder
from tasks.inputs.gguf import count_parameters
from tasks.inputs.recipes import load_recipes
from trials.io.errors import AutoPipeError
from trials.models.check import check_folder

ASSUMED = 1_000_000_000  # where nothing tells; the rule's rates change little from there
# 0.5B, 135M, 8x7B; not the 3 of "Qwen3", nor the 4k of a context.
IN_A_NAME = re.compile(r"(?<![a-z0-9.])(?:(\d{1,2})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")
UNITS = {"m": 1e6, "b": 1e9}


@dataclass(frozen=True)
class ModelSize:
    """How many parameters a model has, and whether that is known or assumed."""

    parameters: int
    known: bool = True

    def __str__(self) -> str:
        count = self.parameters
        unit, name = (1e9, "B") if count >= 1e9 else (1e6, "M")
        return f"{count / unit:.3g} {name} parameters{'' if self.known else ' (assumed)'}"


def model_size(model: str) -> ModelSize:
    """The size of a model: catalog, headers of its weights, table of recipes, or its name.

    Never raises for a model that cannot be used; other checks say what is wrong with it.
    """
    if entry := load_catalog().models.get(model):
        return ModelSize(entry.parameters)
    local = Path(model).exists()
    found = _in_headers(model) if local else _of_a_recipe(model)
    found = found or size_in_name(model) or (None if local else _in_headers(model))
    return ModelSize(found) if found else ModelSize(ASSUMED, known=False)


def _in_headers(model: str) -> int | None:
    """Parameters by the headers of the weights: a file's, a folder's, those of the hub's cache."""
    if model.endswith(".gguf"):
        return count_parameters(Path(model))
    try:
        folder = model_folder(resolve_model(model))
        return check_folder(folder).parameters if folder else None
    except AutoPipeError:
        return None


def _of_a_recipe(model: str) -> int | None:
    return next((row.parameters for row in load_recipes() if row.model == model), None)


def size_in_name(model: str) -> int | None:
    """The size that the last part of a model's name tells: ``Qwen2.5-0.5B`` is 500 million."""
    match = IN_A_NAME.search(Path(model).name.lower().replace("_", "-"))
    if match is None:
        return None
    experts, number, unit = match.groups()
    return int(int(experts or 1) * float(number) * UNITS[unit]) or None
