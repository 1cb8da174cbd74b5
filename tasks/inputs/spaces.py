"""Search spaces: ConfigSpace files, checked against the hyperparameters of a trial."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace

from tasks.config.paths import SPACES
from trials.io.errors import HyperparameterError, SettingsError
from trials.io.plain_yaml import read_yaml
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.records import Value

CHECKED_SAMPLES = 64
FRACTIONAL = re.compile(r"\d+(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)")


def load_space(name: str) -> ConfigurationSpace:
    """A space by its name in ``data/spaces`` or by the path of a ConfigSpace YAML or JSON file.

    The default and a sample of configurations must pass the checks of a trial.

    Raises:
        SettingsError: when there is no such file or ConfigSpace cannot read it.
        HyperparameterError: when the space proposes what a trial would refuse.
    """
    path = SPACES / f"{name}.yaml" if name in bundled_spaces() else Path(name)
    if not path.is_file():
        known = ", ".join(bundled_spaces())
        raise SettingsError(f"no search space {name!r}; expected a file or one of {known}")
    try:
        is_json = path.suffix == ".json"
        content = json.loads(path.read_text(encoding="utf-8")) if is_json else read_yaml(path)
        space = ConfigurationSpace.from_serialized_dict(content)
    except Exception as error:  # ConfigSpace raises whatever the parser or its classes raise
        raise SettingsError(f"{path} is not a ConfigSpace file: {error}") from error
    if not len(space):
        raise SettingsError(f"{path} is not a ConfigSpace file: it names no hyperparameters")
    if problems := sampled_problems(space, lambda h: ()):
        raise HyperparameterError([f"search space: {problem}" for problem in problems])
    return space


def bundled_spaces() -> list[str]:
    """Names of the spaces in ``data/spaces``."""
    return sorted(file.stem for file in SPACES.glob("*.yaml"))


def sampled_problems(
    space: ConfigurationSpace, check: Callable[[Hyperparameters], Iterable[str]]
) -> list[str]:
    """Problems of the default and of a sample of configurations, always the same ones.

    Of those that differ only in a value from a range, the first.
    """
    space.seed(0)
    found: dict[str, str] = {}
    for drawn in (space.get_default_configuration(), *space.sample_configuration(CHECKED_SAMPLES)):
        try:
            problems = check(validate(plain_values(drawn)))
        except HyperparameterError as error:
            problems = error.problems
        for problem in problems:
            found.setdefault(FRACTIONAL.sub("#", problem), problem)
    return list(found.values())


def space_text(space: ConfigurationSpace) -> str:
    """The space in ConfigSpace's own JSON form."""
    return json.dumps(space.to_serialized_dict(), default=str)


def plain_values(configuration: Configuration | Mapping[str, Any]) -> dict[str, Value | None]:
    """Values as Python's own types, sorted by name; ConfigSpace hands out NumPy's."""
    return {
        name: value.item() if hasattr(value, "item") else value
        for name, value in sorted(dict(configuration).items())
    }
