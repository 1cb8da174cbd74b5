"""Errors of the ``autopipe`` command: as text for people, as events for programs, as exit codes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from pydantic import ValidationError

from flows.cli.options import explain
from flows.server.prefect import AWAY
from flows.terminal.console import own_lines, streams
from flows.terminal.interrupts import INTERRUPTED, interrupts
from flows.terminal.output import OutputError
from tasks.output.escape import rich_markup
from trials.io.redact import redacted

CRASHED, REFUSED, TERMINATED = 1, 2, 143  # exit codes


@contextmanager
def friendly_errors(as_json: bool = False) -> Iterator[None]:
    """Shows errors that are meant for people as text, and bugs as tracebacks.

    What else is printed in this context is kept away from the terminal. With ``as_json`` programs
    get ``{"event": "failed", ...}`` on standard output, and people the text on standard error.
    """
    interrupts.as_json = as_json
    with own_lines(as_json):
        try:
            yield
        except (typer.Exit, SystemExit, GeneratorExit, OutputError):
            raise
        except BaseException as error:
            text, code = _explained(error)
            if text is not None:
                _end(as_json, error, text, code)
            if as_json:
                _tell(error, str(error), code)
            raise  # shown by typer, or a bug: both on standard error


def _explained(error: BaseException) -> tuple[str | None, int]:
    """The text for people and the exit code; no text for errors that are shown as they are.

    Nothing is imported before there is an error: a command may be interrupted while it loads.
    """
    # What follows from a Ctrl-C, as a server of ours that is gone already, is no error of its own.
    if isinstance(error, KeyboardInterrupt) or interrupts.came:
        notes = getattr(error, "__notes__", interrupts.notes)
        return "\n  ".join([interrupts.ended("interrupted"), *notes]), INTERRUPTED
    import httpx
    from prefect.exceptions import TerminationSignal

    from tasks.output.log_filters import is_for_people
    from trials.io.errors import FILE_HINTS, FileError

    if is_for_people(error):
        text = str(error)
        return text if "--resume" in text else _with_notes(text, error), REFUSED
    if isinstance(error, ValidationError):
        return f"refused:\n{explain(error)}", REFUSED
    if isinstance(error, TerminationSignal):
        return _with_notes(interrupts.ended("terminated"), error), TERMINATED
    if isinstance(error, OSError) and error.errno in FILE_HINTS and error.filename:
        return str(FileError("use", error.filename, error)), REFUSED
    away = isinstance(error, RuntimeError) and "Failed to reach API" in str(error)  # Prefect's
    if away or isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return AWAY.format(os.environ.get("PREFECT_API_URL", "")), REFUSED
    return None, REFUSED if isinstance(error, typer.BadParameter) else CRASHED


def _with_notes(text: str, error: BaseException) -> str:
    """The text with the notes of whoever ran it: the next command to type."""
    return "\n  ".join([text, *getattr(error, "__notes__", [])])


def _end(as_json: bool, error: BaseException, text: str, code: int) -> NoReturn:
    """Says why the command ends, and ends it."""
    if as_json:
        _tell(error, text, code)
    if code == INTERRUPTED:
        interrupts.answer(text)
    else:
        mark = "[bold red]error:[/bold red] " if code == REFUSED else ""
        shown = mark + rich_markup(redacted(text), lines=True)
        streams(as_json).print(shown, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from None


def _tell(error: BaseException, text: str, code: int) -> None:
    from flows.terminal.json_lines import write_event

    write_event("failed", error=type(error).__name__, message=text, code=code)
