"""Which imported hyperparameters lie outside a search space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    Hyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from tasks.translation.common import number


def outside(rows: Iterable[Mapping[str, Any]], space: ConfigurationSpace) -> list[str]:
    """Hyperparameters with values beyond the ends of their range, and how many values these are.

    Such values are learned from as if they were at the edge, so their rows say less, or something
    else, than what was run.

    Returns:
        One text for each, as ``sft_learning_rate (3 values from 2e-05 to 5e-05; the space has
        0.0001 to 0.01)``.
    """
    rows = list(rows)
    found = []
    for hyperparameter in space.values():
        ends = _ends(hyperparameter)
        if ends is None:
            continue
        low, high = ends
        given = (number(row.get(f"config.{hyperparameter.name}")) for row in rows)
        beyond = [value for value in given if value is not None and not low <= value <= high]
        if beyond:
            values = f"{len(beyond)} value{'s' * (len(beyond) > 1)}"
            span = f"{min(beyond):g}"
            span += f" to {max(beyond):g}" if max(beyond) > min(beyond) else ""
            found.append(
                f"{hyperparameter.name} ({values}, {span}; the space has {low:g} to {high:g})"
            )
    return found


def _ends(hyperparameter: Hyperparameter) -> tuple[float, float] | None:
    """Of a range or of ordered numbers; None for anything else."""
    if isinstance(hyperparameter, UniformFloatHyperparameter | UniformIntegerHyperparameter):
        return float(hyperparameter.lower), float(hyperparameter.upper)
    if isinstance(hyperparameter, OrdinalHyperparameter):
        steps = [number(step) for step in hyperparameter.sequence]
        known = [step for step in steps if step is not None]
        return (min(known), max(known)) if known and len(known) == len(steps) else None
    return None
