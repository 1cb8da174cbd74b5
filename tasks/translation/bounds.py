"""Imported hyperparameters outside a search space."""

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

from tasks.translation.values import finite_number


def values_outside_space(rows: Iterable[Mapping[str, Any]], space: ConfigurationSpace) -> list[str]:
    """Hyperparameters with values beyond their range, which are learned from as those at its edge.

    One text for each: ``sft_learning_rate (3 values, 2e-05 to 5e-05; the space has 0.0001 to
    0.01)``.
    """
    rows = list(rows)
    found = []
    for hyperparameter in space.values():
        if (ends := _ends(hyperparameter)) is None:
            continue
        low, high = ends
        values = (finite_number(row.get(f"config.{hyperparameter.name}")) for row in rows)
        beyond = sorted(v for v in values if v is not None and not low <= v <= high)
        if beyond:
            count = f"{len(beyond)} value{'s' * (len(beyond) > 1)}"
            span = f"{beyond[0]:g}" + f" to {beyond[-1]:g}" * (beyond[-1] > beyond[0])
            found.append(
                f"{hyperparameter.name} ({count}, {span}; the space has {low:g} to {high:g})"
            )
    return found


def _ends(hyperparameter: Hyperparameter) -> tuple[float, float] | None:
    """Ends of a range or of ordered numbers; None for anything else."""
    if isinstance(hyperparameter, UniformFloatHyperparameter | UniformIntegerHyperparameter):
        return float(hyperparameter.lower), float(hyperparameter.upper)
    if isinstance(hyperparameter, OrdinalHyperparameter):
        steps = [finite_number(step) for step in hyperparameter.sequence]
        known = [step for step in steps if step is not None]
        return (min(known), max(known)) if known and len(known) == len(steps) else None
    return None
