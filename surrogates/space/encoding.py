"""Configurations as numbers: the unit cube for Gaussian processes, a table for CatBoost.

Notation: n configurations, p searched hyperparameters (constants are left out), d columns of the
encoded unit cube (d >= p: one-hot categoricals, activity indicators).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.hyperparameters import Constant
from ConfigSpace.types import NotSet
from scipy.stats import qmc

from surrogates.core.base import Config, NoCandidateError, OptionError
from surrogates.space.axes import Axis, is_missing, make_axis, plain

PREFIX = "config."


class SpaceEncoder:
    """Two-way encoding of any `ConfigSpace.ConfigurationSpace`.

    Priors over hyperparameters (weights, normal and beta shapes) are not used: every axis is
    treated as uniform on its own (linear or log) scale. The caller's space stays untouched.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        if not isinstance(space, ConfigurationSpace):
            raise OptionError(
                f"space must be a ConfigSpace.ConfigurationSpace, got {type(space).__name__}. "
                "Build one with ConfigSpace.ConfigurationSpace({'lr': (1e-5, 1e-1), ...})."
            )
        self.space = copy.deepcopy(space)
        self.constants: Config = {
            h.name: plain(h.value) for h in self.space.values() if isinstance(h, Constant)
        }
        self.axes: tuple[Axis, ...] = tuple(
            make_axis(h) for h in self.space.values() if not isinstance(h, Constant)
        )
        if not self.axes:
            raise OptionError("space has nothing to search: it is empty or all constant.")
        conditional = set(self.space.conditional_hyperparameters)
        self.conditional = tuple(a.name in conditional for a in self.axes)
        self._conditions = {
            name: list(self.space.parent_conditions_of[name]) for name in conditional
        }
        self._forbidden = tuple(self.space.forbidden_clauses)
        self.names: tuple[str, ...] = tuple(a.name for a in self.axes)
        self.columns: tuple[str, ...] = tuple(PREFIX + name for name in self.names)

    @property
    def dim(self) -> int:
        """Number of columns d of `matrix`."""
        return sum(a.width for a in self.axes) + sum(self.conditional)

    # -- configurations ------------------------------------------------------------------------

    def normalise(self, config: Mapping[str, Any]) -> Config:
        """Plain Python values in the space's order; unknown and missing (None/NaN) keys dropped."""
        out: Config = {}
        for axis in self.axes:
            value = axis.normalise(config.get(axis.name))
            if value is not None:
                out[axis.name] = value
        for name, value in self.constants.items():
            if not is_missing(config.get(name)) or name not in self._conditions:
                out[name] = value
        return out

    def from_frame(self, frame: pd.DataFrame) -> list[Config]:
        """Configurations of a table whose columns may or may not carry the "config." prefix.

        Inactive values are dropped, unless the row lacks the hyperparameter that they depend on.
        """
        named = {
            name: frame[PREFIX + name] if PREFIX + name in frame else frame.get(name)
            for name in (*self.names, *self.constants)
        }
        columns = {name: v.tolist() for name, v in named.items() if v is not None}
        for axis in self.axes:
            if axis.name in columns:
                columns[axis.name] = _each(axis.normalise, columns[axis.name])
        names, known = tuple(columns), {}  # rows of one trial have one configuration
        found = []
        for row in zip(*columns.values(), strict=True) if columns else [()] * len(frame):
            if row not in known:
                config = self.normalise(dict(zip(names, row, strict=True)))
                known[row] = self.activate(config) if self.lacks(config) is None else config
            found.append(dict(known[row]))
        return found

    def lacks(self, config: Mapping[str, Any]) -> str | None:
        """The first unconditional hyperparameter without a value; None where all have one."""
        pairs = zip(self.names, self.conditional, strict=True)
        return next((n for n, conditional in pairs if not conditional and n not in config), None)

    def key(self, config: Mapping[str, Any]) -> tuple[Any, ...]:
        """Hashable identity of a configuration (floats to 12 significant digits)."""
        values = (config.get(name) for name in self.names)
        return tuple(float(f"{v:.12g}") if isinstance(v, float) else v for v in values)

    def is_legal(self, config: Mapping[str, Any]) -> bool:
        """True if the configuration keeps bounds, conditions and forbidden clauses."""
        try:
            Configuration(self.space, values=dict(config)).check_valid_configuration()
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _is_forbidden(self, config: Mapping[str, Any]) -> bool:
        """True if a forbidden clause holds; much cheaper than `is_legal` for decoded points,
        which keep bounds and conditions by construction."""
        try:
            return any(clause.is_forbidden_value(dict(config)) for clause in self._forbidden)
        except (KeyError, TypeError, ValueError):  # a clause on an inactive hyperparameter
            return not self.is_legal(config)

    def default(self) -> Config:
        """The space's default configuration."""
        return self.normalise(dict(self.space.get_default_configuration()))

    def activate(self, config: Mapping[str, Any]) -> Config:
        """Drop the hyperparameters whose conditions do not hold."""
        if not self._conditions:
            return dict(config)
        values: dict[str, Any] = dict.fromkeys(self.space, NotSet)
        for name in self.space:  # ConfigSpace orders parents before children
            holds = all(c.satisfied_by_value(values) for c in self._conditions.get(name, ()))
            if holds and name in config:
                values[name] = config[name]
        return {name: value for name, value in values.items() if value is not NotSet}

    # -- one coordinate per hyperparameter -------------------------------------------------------

    def from_unit(self, points: np.ndarray) -> list[Config]:
        """Legal configurations at points of the `n x p` unit cube; illegal points are skipped."""
        out = []
        for row in np.asarray(points, dtype=np.float64):
            raw = {a.name: a.decode(u) for a, u in zip(self.axes, row, strict=True)}
            config = self.activate(raw | self.constants)
            if not self._is_forbidden(config):
                out.append(config)
        return out

    def to_unit(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`n x p` coordinates with `from_unit(to_unit(c)) == c`; NaN where inactive."""
        return np.array(
            [[a.encode(c.get(a.name)) for a in self.axes] for c in configs], dtype=np.float64
        ).reshape(len(configs), len(self.axes))

    def sample(self, n: int, seed: int) -> list[Config]:
        """At most n distinct legal configurations from a scrambled Sobol sequence.

        Where constraints reject most of the cube, ConfigSpace's own sampler fills up.

        Raises:
            NoCandidateError: The space has no legal configuration that sampling can find.
        """
        sobol = qmc.Sobol(len(self.axes), scramble=True, rng=np.random.default_rng(seed))
        wanted = 2 * n if self._forbidden else n  # some points will be rejected
        points = sobol.random_base2(math.ceil(math.log2(max(wanted, 2))))
        found = self.unique(self.from_unit(points[:wanted]))[:n]
        if len(found) < n / 2 and self._forbidden:
            self.space.seed(seed % 2**31)
            drawn = self.space.sample_configuration(n)
            drawn = drawn if isinstance(drawn, list) else [drawn]
            found = self.unique([*found, *(self.normalise(dict(c)) for c in drawn)])[:n]
        if not found:
            raise NoCandidateError("no legal configuration found: check the forbidden clauses.")
        return found

    def unique(self, configs: Iterable[Config]) -> list[Config]:
        """The configurations without repeats, in order of first appearance."""
        return list({self.key(c): c for c in reversed(list(configs))}.values())[::-1]

    # -- encodings -----------------------------------------------------------------------------

    def matrix(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`n x d` float64 in [0, 1]: scaled numbers, ranks, one-hot, activity indicators.

        A missing or inactive value becomes neutral (0.5, or 1/k for each of k categories);
        values outside the space are clipped to its edge.
        """
        blocks: list[np.ndarray] = []
        for axis, conditional in zip(self.axes, self.conditional, strict=True):
            values = [c.get(axis.name) for c in configs]
            blocks.append(np.array(_each(axis.embed, values)).reshape(-1, axis.width))
            if conditional:
                blocks.append(np.array([[float(v is not None)] for v in values]).reshape(-1, 1))
        return np.hstack(blocks) if configs else np.zeros((0, self.dim))

    def frame(self, configs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Table for CatBoost: `columns` in fixed order, log10 of log-scaled numbers, ranks for
        ordinals, strings for categoricals, NaN or "<missing>" where inactive."""
        named = {a.name: (a, [c.get(a.name) for c in configs]) for a in self.axes}
        data = {PREFIX + name: _each(a.feature, values) for name, (a, values) in named.items()}
        return pd.DataFrame(data, columns=list(self.columns))


def _each(function: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    """The function of every value, computed once for each value (and type) that there is."""
    known: dict[tuple[type, Any], Any] = {}
    out = []
    for value in values:
        key = (type(value), value)
        try:
            if key not in known:
                known[key] = function(value)
            out.append(known[key])
        except TypeError:  # a list, say, which no dictionary takes as a key
            out.append(function(value))
    return out
