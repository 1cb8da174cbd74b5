"""The table of published post-training recipes, whose head explains the rows, and its rule."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from surrogates.space.rate_rule import DIGITS, Adapter, Cell, RateRule, Stage, fit_rule
from tasks.config.paths import DATA
from trials.io.errors import SettingsError
from trials.io.plain_yaml import read_yaml
from trials.spec.records import Record

RECIPES = DATA / "recipes.yaml"
FAMILY = "autopipe"  # author of the rows that were measured with the bundled tiny models


class Recipe(Record):
    """The peak learning rate that somebody chose for a stage of post-training, and where it is."""

    model: str = Field(min_length=1)
    parameters: PositiveInt
    adapter: Adapter
    stage: Stage
    learning_rate: float = Field(gt=0, le=1)
    batch_size: PositiveInt | None = None
    schedule: str | None = None
    lora_rank: PositiveInt | None = None
    algorithm: str | None = None
    kind: Literal["sweep_best", "release", "example", "course", "card"]
    author: str = Field(min_length=1)
    source: str = Field(min_length=1)
    note: str | None = None

    @property
    def cell(self) -> Cell:
        """The stage and the adapter, which rates differ by most."""
        return self.stage, self.adapter

    @property
    def log_size(self) -> float:
        """log10(parameters / 1e9)."""
        return math.log10(self.parameters / 1e9)


class RecipeTable(Record):
    """The whole file."""

    recipes: list[Recipe] = Field(min_length=1)


@cache
def load_recipes(path: Path = RECIPES) -> tuple[Recipe, ...]:
    """All rows of a table.

    Raises:
        SettingsError: it is missing, no YAML, or has wrong keys or values.
    """
    try:
        return tuple(RecipeTable.model_validate(read_yaml(path)).recipes)
    except FileNotFoundError:
        raise SettingsError(f"no recipes at {path}; restore them: git checkout {path}") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not a table of recipes: {error}") from error


@cache
def reference_rule() -> RateRule:
    """The rule of learning rates that the bundled table gives."""
    return fit_rule(load_recipes())


def shown(rate: float) -> str:
    """A learning rate as people write it: ``2.9e-4``, ``1.0e-3``."""
    mantissa, exponent = f"{rate:.{DIGITS - 1}e}".split("e")
    return f"{float(mantissa)}e{int(exponent)}"
