"""What the ``autopipe`` command does with errors that are meant for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from flows.options import explain

console = Console()


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Shows errors that are meant for people as text, and bugs as tracebacks."""
    from surrogates.base import SurrogateError
    from tasks.catalog import CatalogError
    from trials.errors import AutoPipeError

    try:
        yield
    except (AutoPipeError, CatalogError, SurrogateError) as error:
        console.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        raise typer.Exit(2) from None
    except ValidationError as error:
        console.print(
            f"[bold red]error:[/bold red] refused:\n{escape(explain(error))}", highlight=False
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print("interrupted; finished trials are kept")
        raise typer.Exit(130) from None
