"""Options of the benchmarks: shared by several commands of a program, and lists of names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from trials.io.errors import SettingsError
from trials.io.problems import meant

Command = Callable[..., None]


def with_options(selection: type) -> Callable[[Command], Command]:
    """Makes each field of a dataclass, a command's first argument, an option of the command."""

    def decorate(command: Command) -> Command:
        shared = inspect.signature(selection, eval_str=True).parameters
        [_, *own] = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [*shared.values(), *own]

        @functools.wraps(command)
        def with_selection(**options: Any) -> None:
            selected = selection(**{name: options.pop(name) for name in shared})
            command(selected, **options)

        with_selection.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_selection.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_selection

    return decorate


def selected(names: str, known: Iterable[str], kind: str) -> list[str]:
    """Names with commas between; all of the known ones where none is given.

    Raises:
        SettingsError: one is unknown; the nearest known one is suggested.
    """
    given, known = [name.strip() for name in names.split(",") if name.strip()], list(known)
    for name in given:
        if name not in known:
            near = meant(name, known)
            raise SettingsError(f"unknown {kind} {name!r}{near}\n  known: {', '.join(known)}")
    return given or known
