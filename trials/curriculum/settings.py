"""Fields that only some curricula read, and what they are where they are not set."""

from __future__ import annotations

from trials.spec.hyperparameters import Hyperparameters

DEFAULTS = {"target": 0.5, "rate": 0.5, "temperature": 0.3}
DUMP_TEMPERATURE = 0.1  # of its paper


def setting(h: Hyperparameters, name: str) -> float:
    """A field `rl_curriculum_<name>`, or its default."""
    given = getattr(h, f"rl_curriculum_{name}")
    if given is None and name == "temperature" and h.rl_curriculum == "dump":
        return DUMP_TEMPERATURE
    return float(DEFAULTS[name] if given is None else given)
