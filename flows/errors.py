"""What the ``autopipe`` command does with errors that are meant for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from flows.options import explain
from flows.server import AWAY
from trials.redact import redacted

CRASHED, REFUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143  # exit codes
KEPT = "finished trials are kept"


@contextmanager
def friendly_errors(as_json: bool = False) -> Iterator[None]:
    """Shows errors that are meant for people as text, and bugs as tracebacks.

    Args:
        as_json: standard output is for programs: they get ``{"event": "failed", ...}`` there, and
            people the text on standard error.
    """
    import httpx
    from prefect.exceptions import TerminationSignal

    from surrogates.base import SurrogateError
    from tasks.catalog import CatalogError
    from trials.errors import AutoPipeError

    try:
        yield
    except (AutoPipeError, CatalogError, SurrogateError) as error:
        _end(as_json, error, str(error), REFUSED)
    except ValidationError as error:
        _end(as_json, error, f"refused:\n{explain(error)}", REFUSED)
    except TerminationSignal as error:
        _end(as_json, error, _with_notes(f"terminated; {KEPT}", error), TERMINATED)
    except KeyboardInterrupt as error:
        _end(as_json, error, _with_notes(f"interrupted; {KEPT}", error), INTERRUPTED)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        _end(as_json, error, _away(), REFUSED)
    except typer.Exit:
        raise
    except Exception as error:  # shown by typer, or a bug: both on standard error
        if isinstance(error, RuntimeError) and "Failed to reach API" in str(error):  # Prefect's
            _end(as_json, error, _away(), REFUSED)
        if as_json:
            refused = isinstance(error, typer.BadParameter)
            _tell(error, str(error), REFUSED if refused else CRASHED)
        raise


def _away() -> str:
    return AWAY.format(os.environ.get("PREFECT_API_URL", ""))


def _with_notes(text: str, error: BaseException) -> str:
    """What who ran it has added: the next command to type."""
    return "\n  ".join([text, *getattr(error, "__notes__", [])])


def _end(as_json: bool, error: BaseException, text: str, code: int) -> NoReturn:
    """Says why the command ends, and ends it.

    Raises:
        typer.Exit: always.
    """
    if as_json:
        _tell(error, text, code)
    mark = "[bold red]error:[/bold red] " if code == REFUSED else ""
    Console(stderr=as_json).print(mark + escape(redacted(text)), highlight=False)
    raise typer.Exit(code) from None


def _tell(error: BaseException, text: str, code: int) -> None:
    from flows.json_lines import write_event

    write_event("failed", error=type(error).__name__, message=text, code=code)
