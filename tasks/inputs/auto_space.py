"""The space that a run searches: made for its model and data, or named and checked against both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Hyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)

from surrogates.space.rate_rule import ADAPTERS, STAGES, Adapter, RateRange, RateRule, Stage
from tasks.config.settings import CollectSettings, TuneSettings
from tasks.inputs.recipes import reference_rule, shown
from tasks.inputs.sizes import ModelSize, model_size
from tasks.inputs.spaces import load_space, space_text
from trials.io.atomic import write_text
from trials.io.errors import SettingsError

AUTO = "auto"
# The bundled spaces of the tiny family, which the bundled history was collected in, without and
# with preferences; and the one that gives larger models all axes but their rates.
FAMILY, FAMILY_DPO, LARGE = "sft_grpo", "sft_dpo_grpo", "sft_grpo_lora"
COVERED = 0.8  # share of a rate's range, on its log scale, that the rule's range has to reach
# Of the rates of authors left out, one in a hundred is further above the rule (docs/spaces.md).
TOO_HIGH = 30.0
LEAST_PAIRS = 32  # for a DPO stage: the largest batch of these spaces
KEPT = "space.json"  # in the folder of a dataset's design
NAMES = {"sft": "SFT", "dpo": "DPO", "rl": "RL"}


@dataclass(frozen=True)
class FittingSpace:
    """A space that fits a model, its name, and where its rates begin."""

    name: str
    space: ConfigurationSpace
    note: str | None = None  # for people


@dataclass(frozen=True)
class SearchedSpace:
    """The space of a run, the settings that name it, and where its rates begin."""

    settings: TuneSettings
    space: ConfigurationSpace
    note: str | None = None  # for people


def searched_space(settings: TuneSettings, pairs: int) -> SearchedSpace:
    """The space of a new run on a dataset with so many preference pairs.

    Raises:
        SettingsError, HyperparameterError: as `fitting_space`.
    """
    found = fitting_space(settings, pairs)
    named = settings.model_copy(update={"space": found.name})
    return SearchedSpace(named, found.space, found.note)


def design_space(settings: CollectSettings, pairs: int, folder: Path) -> FittingSpace:
    """The space of a dataset's design: for a new one that of the settings, else the original.

    Were it made again for a design that has trials, recipes that were added meanwhile would change
    its configurations. Those of before `keep_space` are in the family's, unless another is named.

    Raises:
        SettingsError, HyperparameterError: as `fitting_space`; or the settings name another space
            than the one that the design began in.
    """
    if not _begun(folder):
        return fitting_space(settings, pairs)
    file = folder / KEPT
    if not file.exists():
        name = FAMILY if settings.space == AUTO else settings.space
        return FittingSpace(name, load_space(name))
    kept = load_space(str(file))
    if settings.space != AUTO and load_space(settings.space) != kept:
        raise SettingsError(
            f"the space of a run that is resumed: expected the one that it began in, {file}; found "
            f"--space {settings.space}, which is another\n  Leave --space out to go on in the "
            "first one, or begin another run with --name"
        )
    return FittingSpace(str(file), kept)


def keep_space(found: FittingSpace, folder: Path) -> str:
    """Keeps the space of a design that begins in its folder; the name to load it by from now on."""
    if _begun(folder):
        return found.name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / KEPT, space_text(found.space))
    return str(folder / KEPT)


def _begun(folder: Path) -> bool:
    return any(folder.glob("*/spec.json"))


def fitting_space(settings: TuneSettings | CollectSettings, pairs: int) -> FittingSpace:
    """The space that settings ask for, on a dataset with so many preference pairs.

    Raises:
        SettingsError: there is no such space, or its rates are far above those of recipes for a
            model of this size, and were not allowed.
        HyperparameterError: the space proposes what a trial would refuse.
    """
    rule, size = reference_rule(), model_size(settings.model)
    if settings.space == AUTO:
        name, space = auto_space(size, pairs, rule)
        return FittingSpace(name, space, _note(name, space, size, rule))
    space = load_space(settings.space)
    problems = list(_too_high(space, size, rule))
    if problems and size.known and not settings.allow_rates:
        problems.append(
            f"The search space {settings.space} does not fit {settings.model}. Leave --space out "
            "for one that does (--space auto), or add --allow-rates if you mean these rates."
        )
        raise SettingsError("\n".join(problems))
    return FittingSpace(settings.space, space)


def auto_space(
    size: ModelSize, pairs: int = 0, rule: RateRule | None = None
) -> tuple[str, ConfigurationSpace]:
    """The space for a model of this size, and its name: ``auto`` if it is none of the bundled ones.

    Where the rule agrees with the space that the bundled history was collected in, that is taken:
    past trials and the models learned from them are then about the same axes.
    """
    rule, dpo = rule or reference_rule(), pairs >= LEAST_PAIRS
    family = load_space(FAMILY)
    if covers(rule, family, size.parameters):
        return (FAMILY_DPO, load_space(FAMILY_DPO)) if dpo else (FAMILY, family)
    large = load_space(LARGE)
    content, adapters = large.to_serialized_dict(), adapters_of(large)
    axes = {axis["name"]: axis for axis in content["hyperparameters"]}
    if dpo:  # and the share of SFT that leaves room for it
        added = load_space(FAMILY_DPO).to_serialized_dict()["hyperparameters"]
        axes |= {
            axis["name"]: axis
            for axis in added
            if axis["name"].startswith("dpo_") or axis["name"] == "sft_share"
        }
    for stage in STAGES:
        if axis := axes.get(f"{stage}_learning_rate"):
            found = rule.range(stage, adapters, size.parameters)
            axis |= {"lower": found.lower, "default_value": found.default, "upper": found.upper}
    content |= {"name": AUTO, "hyperparameters": list(axes.values())}
    return AUTO, ConfigurationSpace.from_serialized_dict(content)


def covers(rule: RateRule, space: ConfigurationSpace, parameters: int) -> bool:
    """True if the rule's ranges reach most of each of a space's ranges of learning rates."""
    adapters = adapters_of(space)
    return all(
        coverage(rates, rule.range(stage, adapters, parameters)) >= COVERED
        for stage, rates in rate_axes(space)
    )


def coverage(of: RateRange, by: RateRange) -> float:
    """Share of a range, on the log scale, that lies in another one."""
    lower, upper = max(of.lower, by.lower), min(of.upper, by.upper)
    return max(0.0, math.log(upper / lower)) / math.log(of.upper / of.lower)


def rate_axes(space: ConfigurationSpace) -> Iterator[tuple[Stage, RateRange]]:
    """The stages whose learning rate is searched or fixed, with its range; one value if fixed."""
    for stage in STAGES:
        if (axis := space.get(f"{stage}_learning_rate")) is not None:
            yield stage, _range(axis)


def _range(axis: Hyperparameter) -> RateRange:
    values: Sequence[Any]
    match axis:
        case NumericalHyperparameter(lower=lower, upper=upper):
            values = (lower, upper)
        case OrdinalHyperparameter(sequence=values) | CategoricalHyperparameter(choices=values):
            pass
        case _:  # a constant
            values = (axis.default_value,)
    return RateRange(float(min(values)), float(axis.default_value), float(max(values)))


def adapters_of(space: ConfigurationSpace) -> tuple[Adapter, ...]:
    """The adapters that a space has, the default one first; full where it names none."""
    axis = space.get("adapter")
    if axis is None:
        return ("full",)
    found = axis.choices if isinstance(axis, CategoricalHyperparameter) else (axis.default_value,)
    chosen = [adapter for adapter in ADAPTERS if adapter in found]
    return tuple(sorted(chosen, key=lambda adapter: adapter != axis.default_value))


def _too_high(space: ConfigurationSpace, size: ModelSize, rule: RateRule) -> Iterator[str]:
    """A sentence on each learning rate whose default or whole range is far above the rule's."""
    adapters = adapters_of(space)
    for stage, found in rate_axes(space):
        usual = rule.rate(stage, adapters[0], size.parameters)
        highest = max(rule.rate(stage, each, size.parameters) for each in adapters)
        if found.default <= TOO_HIGH * usual and found.lower <= TOO_HIGH * highest:
            continue
        yield (
            f"{stage}_learning_rate: expected about {shown(usual)} for {size} with "
            f"{_spoken(adapters[0])}, by {rule.counts[stage, adapters[0]]} published recipes "
            f"(docs/spaces.md); found a default of {shown(found.default)}, "
            f"{found.default / usual:.0f} times as much, in a range from {shown(found.lower)} to "
            f"{shown(found.upper)}"
        )


def _note(name: str, space: ConfigurationSpace, size: ModelSize, rule: RateRule) -> str:
    """One line on the rates that a search begins at."""
    axes = dict(rate_axes(space))
    rates = ", ".join(f"{NAMES[stage]} {shown(axes[stage].default)}" for stage in axes)
    adapters = adapters_of(space)
    if name == AUTO:
        count = sum(rule.counts[stage, adapter] for stage in axes for adapter in adapters)
        source = f"from {count} published recipes"
    else:
        source = f"of the space {name}, which suits this size by published recipes"
    unknown = "" if size.known else "; its size is not known: name a --space if it is far from that"
    kind = " or ".join(map(_spoken, adapters))
    return f"learning rates: {rates} for {size} with {kind}, {source} (docs/spaces.md){unknown}"


def _spoken(adapter: Adapter) -> str:
    return {"full": "full weights", "lora": "LoRA"}[adapter]
