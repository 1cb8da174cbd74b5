"""Sections of params.yaml, the one home of the settings of the offline pipeline's steps."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tasks.config.paths import DATA
from trials.io.errors import SettingsError
from trials.io.plain_yaml import read_yaml
from trials.io.problems import place, sentence

PARAMS = (DATA / "params.yaml").resolve()  # a link to that of the checkout

Section = TypeVar("Section", bound=BaseModel)


def load_section(model: type[Section], name: str, path: Path = PARAMS) -> Section:
    """A section of a parameter file; a SettingsError if it is missing, or a setting is wrong."""
    try:
        return model.model_validate(read_yaml(path)[name])
    except ValidationError as error:
        found = "; ".join(f"{place(each)}: {sentence(each, model)}" for each in error.errors())
        raise SettingsError(f"{path}: section `{name}`: {found}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path}: expected a YAML file with a section `{name}`, found: {error!r}\n"
            "  restore it with: git checkout params.yaml"
        ) from None
