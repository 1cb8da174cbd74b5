"""Settings as a table, made from the fields of the pydantic models, which alone describe them.

The command line, a report's command, errors that name options and ``docs/settings.md`` read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

DEVICES = "Devices and limits"  # a panel of --help


@dataclass(frozen=True)
class Option:
    """Metadata of a field that an option of the command line sets.

    Attributes:
        name: of the option, without dashes; None: that of the field.
        panel: of ``--help`` that lists it; None: the main one.
        default: of the command, where the model has none.
        computed_default: what the command takes when the option is not given, in words; it then
            leaves the field to whoever computes it.
    """

    name: str | None = None
    panel: str | None = None
    default: Any = None
    computed_default: str | None = None


class Options:
    """Metadata of a field that holds a model: the options that set fields of that model."""

    def __init__(self, **options: Option):
        self.of_field: Mapping[str, Option] = options


@dataclass(frozen=True)
class Setting:
    """A row of the table: a field, with its path, as ``schedule.total_steps``.

    Attributes:
        type: of the value, without None.
        default: None where a value is required.
        meaning: the field's description.
        metadata: of the field, with the constraints of its value (``annotated_types``).
    """

    path: str
    type: Any
    required: bool
    default: Any
    meaning: str
    option: Option | None
    metadata: tuple[Any, ...] = field(repr=False)

    @property
    def flag(self) -> str | None:
        """``--total-steps``; None where no option sets it."""
        if self.option is None:
            return None
        return "--" + (self.option.name or self.path.rpartition(".")[2]).replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, where they are few."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def bound(self, name: str) -> float | None:
        """The limit of this name (``ge``, ``gt``, ``le``, ``lt``)."""
        found = (getattr(each, name, None) for each in self.metadata)
        return next((limit for limit in found if limit is not None), None)

    def value_in(self, settings: BaseModel) -> Any:
        """The value that it has in settings."""
        value: Any = settings
        for name in self.path.split("."):
            value = getattr(value, name)
        return value


@cache
def table_of(model: type[BaseModel]) -> tuple[Setting, ...]:
    """All settings of a model and of the models in it, in the order of their fields."""
    return tuple(_rows(model, None, "", {}))


@cache
def flags_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Path of a setting -> its option, for those that have one."""
    return {row.path: row.flag for row in table_of(model) if row.flag}


def _rows(
    model: type[BaseModel], defaults: BaseModel | None, prefix: str, options: Mapping[str, Option]
) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        required = defaults is None and info.is_required()
        default = None if required else getattr(defaults, name, info.default)
        type_, metadata = _unwrapped(info)
        option = _mark(metadata, Option) or options.get(name)
        if option is None and isinstance(type_, type) and issubclass(type_, BaseModel):
            inner = _mark(metadata, Options) or Options()
            yield from _rows(type_, default, f"{prefix}{name}.", inner.of_field)
        else:
            text = info.description or ""
            yield Setting(prefix + name, type_, required, default, text, option, metadata)


def _mark(metadata: tuple[Any, ...], kind: type[Any]) -> Any:
    return next((each for each in metadata if isinstance(each, kind)), None)


def _unwrapped(info: FieldInfo) -> tuple[Any, tuple[Any, ...]]:
    """The type without ``| None`` and ``Annotated``, and the metadata of all places."""
    type_, metadata = info.annotation, list(info.metadata)
    if NoneType in (parts := get_args(type_)):
        [type_] = [part for part in parts if part is not NoneType]
    if get_origin(type_) is Annotated:
        type_, *inner = get_args(type_)
        for each in inner:
            metadata += each.metadata if isinstance(each, FieldInfo) else [each]
    return type_, tuple(metadata)
