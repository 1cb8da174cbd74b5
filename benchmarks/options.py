"""Options that several commands of a program share, written once as a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def with_options(selection: type) -> Callable[[Command], Command]:
    """A decorator for Typer commands whose first argument is a `selection`.

    Args:
        selection: a dataclass; each of its fields becomes an option of the command.
    """

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
