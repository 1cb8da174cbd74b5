"""Levels: models of several sizes of one family, of which the largest is the target.

A trial of a small model costs a fraction of one of the target, and tells something about it. Their
learning rates differ: with the width w of a model the best rate of full fine-tuning falls like
1 / w (Yang et al., Tensor Programs V, arXiv 2203.03466), so that a rate on a small model stands for
a smaller one on the target, its image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from surrogates.core.base import Config, OptionError
from surrogates.space.axes import ChoiceAxis, NumberAxis, is_missing
from surrogates.space.encoding import SpaceEncoder

RATE = "learning_rate"  # in the name of an axis that may shift between levels
WIDTH_RULE = "sft_"  # beginning of the names of those that the rule of widths is known for
WIDTH = ("width", "model_hidden_size")  # meta-features with a model's width
ADAPTER = "adapter"  # the choice on which shifts depend, where a space has it


@dataclass(frozen=True)
class Levels:
    """The levels of a search, in the order of size; the last one is the target."""

    names: tuple[str, ...] = ("",)
    costs: tuple[float, ...] = (1.0,)
    """Of a full-length trial, relative to one of the target."""
    meta: tuple[Mapping[str, Any], ...] = field(default=({},))
    """Meta-features of each level's model, in place of those of the dataset."""

    @classmethod
    def of(
        cls,
        costs: Mapping[str, float] | None,
        meta: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Levels:
        """Levels from relative costs and meta-features by name; one unnamed level without costs.

        Raises:
            OptionError: The costs are no mapping of two or more names to positive numbers, they
                fall with the order of the names, or a proxy costs no less than the target, which
                is the last; or the meta-features are no mapping, are of a level that is not there,
                or have a width that is no number.
        """
        if costs is None:
            if meta is not None and not (isinstance(meta, Mapping) and not meta):
                raise OptionError("level_meta was given without levels.")
            return cls()
        values = _checked_costs(costs)
        relative = tuple(cost / values[-1] for cost in values)
        return cls(tuple(costs), relative, _checked_meta(meta, tuple(costs)))

    @property
    def target(self) -> str:
        """Name of the level that is searched for."""
        return self.names[-1]

    @property
    def proxies(self) -> tuple[str, ...]:
        """Names of all others, the cheapest first."""
        return self.names[:-1]

    def index(self, name: str) -> int:
        """Position of a level."""
        return self.names.index(name)

    def cost(self, name: str) -> float:
        """Relative cost of a full-length trial."""
        return self.costs[self.index(name)]

    def to_dict(self) -> dict[str, Any] | None:
        """JSON form of the arguments of `of`; None for a search without levels."""
        if len(self.names) == 1:
            return None
        meta = dict(zip(self.names, map(dict, self.meta), strict=True))
        return {"costs": dict(zip(self.names, self.costs, strict=True)), "meta": meta}


@dataclass(frozen=True)
class Shifts:
    """How a point of the cube at one level is moved to its image at the target.

    Of L levels, J learning rates and A adapters; one adapter where a space has no such choice.
    """

    axes: tuple[NumberAxis, ...]
    """(J,) the learning rates."""
    columns: tuple[int, ...]
    """(J,) of them in the encoded cube."""
    adapters: tuple[Any, ...]
    """(A,); empty where there is one."""
    groups: tuple[int, ...]
    """(A,) columns that are 1 for an adapter."""
    active: tuple[int, ...]
    """(J,) columns that are 1 where a conditional rate is active; -1 for the others."""
    prior: np.ndarray
    """`L x J x A` expected shifts in decades, 0 for the target."""

    @classmethod
    def of(cls, encoder: SpaceEncoder, levels: Levels) -> Shifts:
        """Expected shifts: -log10(width of the target / of the level) for SFT rates, else 0.

        Widths are the first meta-feature of `WIDTH` that there is.
        """
        rates: list[NumberAxis] = []
        columns: list[int] = []
        active: list[int] = []
        adapters: tuple[Any, ...] = ()
        groups: tuple[int, ...] = ()
        start = 0
        for axis, conditional in zip(encoder.axes, encoder.conditional, strict=True):
            if isinstance(axis, NumberAxis) and axis.log and RATE in axis.name:
                rates.append(axis)
                columns.append(start)
                active.append(start + axis.width if conditional else -1)
            if isinstance(axis, ChoiceAxis) and axis.name == ADAPTER:
                adapters, groups = axis.choices, tuple(range(start, start + axis.width))
            start += axis.width + conditional
        widths = [_width(meta) for meta in levels.meta]
        prior = np.zeros((len(levels.names), len(columns), max(len(groups), 1)))
        for level, width in enumerate(widths):
            if width and widths[-1]:
                for j, axis in enumerate(rates):
                    if axis.name.startswith(WIDTH_RULE):
                        prior[level, j] = -math.log10(widths[-1] / width)
        return cls(tuple(rates), tuple(columns), adapters, groups, tuple(active), prior)

    @classmethod
    def none(cls, levels: Levels) -> Shifts:
        """A configuration stands for itself on every level."""
        return cls((), (), (), (), (), np.zeros((len(levels.names), 0, 1)))

    @property
    def scale(self) -> np.ndarray:
        """(J,): one decade in the cube."""
        return np.array([1.0 / math.log10(axis.upper / axis.lower) for axis in self.axes])

    def image(self, config: Config, level: int, shift: np.ndarray) -> Config:
        """The configuration of the target that one of a level stands for; rates stay in range.

        The shift is that of every level, `L x J x A` decades.
        """
        adapter = config.get(ADAPTER)
        chosen = self.adapters.index(adapter) if adapter in self.adapters else 0
        moved = dict(config)
        for j, axis in enumerate(self.axes):
            if axis.name in moved:
                rate = moved[axis.name] * 10.0 ** float(shift[level, j, chosen])
                moved[axis.name] = min(max(rate, axis.lower), axis.upper)
        return moved


def _checked_costs(costs: Any) -> list[float]:
    """The costs of `Levels.of` in their order, the target's last."""
    if not isinstance(costs, Mapping):
        raise OptionError(
            f"levels={costs!r}: expected a mapping of names to relative costs, such as "
            f"{{'small': 0.05, 'large': 1.0}}, found {type(costs).__name__}."
        )
    given = f"levels={dict(costs)}"
    if len(costs) < 2:
        raise OptionError(f"{given}: expected two or more; the last is the target.")
    for name, cost in costs.items():
        if not (isinstance(name, str) and name):
            raise OptionError(f"{given}: expected the name of a model, found {name!r}.")
        if not (_is_number(cost) and math.isfinite(cost) and cost > 0):
            raise OptionError(
                f"{given}: expected positive relative costs, found {cost!r} for {name!r}."
            )
    values = [float(cost) for cost in costs.values()]
    if max(values) > values[-1]:
        raise OptionError(f"{given}: expected the target, which costs most, as the last one.")
    if values[-2] == values[-1]:
        name = list(costs)[-2]
        raise OptionError(
            f"{given}: {name!r} costs as much as the target, expected less. Leave it out."
        )
    if values != sorted(values):
        raise OptionError(f"{given}: expected the smallest first; the costs have to rise.")
    return values


def _checked_meta(meta: Any, names: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """The meta-features of `Levels.of`, level by level."""
    meta = {} if meta is None else meta
    if not isinstance(meta, Mapping):
        raise OptionError(
            f"level_meta={meta!r}: expected a mapping of names to meta-features, such as "
            f"{{'small': {{'width': 64}}}}, found {type(meta).__name__}."
        )
    if unknown := [name for name in meta if name not in names]:
        raise OptionError(f"level_meta of {unknown}, but the levels are {list(names)}.")
    for name, features in meta.items():
        if not isinstance(features, Mapping):
            raise OptionError(
                f"level_meta of {name!r}: expected a mapping of meta-features, such as "
                f"{{'width': 64}}, found {features!r}."
            )
        for key in WIDTH:
            if not (is_missing(features.get(key)) or _is_number(features[key])):
                raise OptionError(
                    f"level_meta of {name!r}: expected a number as {key!r}, found "
                    f"{features[key]!r}."
                )
    return tuple(_named(meta.get(name, {})) for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _named(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Meta-features as the history calls them, where they have a shorter name here."""
    return {f"model_{k}" if k == "log_parameters" else k: value for k, value in meta.items()}


def _width(meta: Mapping[str, Any]) -> float | None:
    value = next((meta[name] for name in WIDTH if meta.get(name) is not None), None)
    return float(value) if value is not None and float(value) > 0 else None
