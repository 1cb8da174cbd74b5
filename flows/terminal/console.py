"""The terminal is AutoPipe's own: its lines and bars are on it, and nobody else's.

Libraries print bars, notes and warnings, some through Python and some past it. While
``own_lines`` is entered both go to a file without a name, which is shown only when the command
ends by a defect. AutoPipe writes through ``console`` and ``error_console``.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TextIO

from rich.console import Console, ConsoleDimensions
from typer import BadParameter, Exit

from flows.terminal.output import STDERR, STDOUT, OutputError, output_to
from tasks.output.escape import printable
from trials.io.redact import redacted

PACKAGES = ("flows", "tasks", "surrogates", "trials")
TAIL_BYTES = 8000
TABLE_COLUMNS = 140


class OwnConsole(Console):
    """A console whose size is that of the terminal that it writes to, wherever 1 and 2 lead."""

    @property
    def size(self) -> ConsoleDimensions:
        if self._width is None and self._height is None and not self.is_dumb_terminal:
            with suppress(OSError, ValueError, AttributeError):
                columns, lines = os.get_terminal_size(self.file.fileno())
                if columns and lines:  # a pseudo-terminal that nobody gave a size has none
                    return ConsoleDimensions(columns, lines)
        return super().size

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


# Loggers that libraries made meanwhile go on writing there, to the end of the process.
_left_open: list[TextIO] = []
console = OwnConsole()
error_console = OwnConsole(stderr=True)


def for_tables() -> Console:
    """The console, as wide as tables need where it is no terminal, as in a log.

    One that is made elsewhere writes to what `own_lines` keeps away.
    """
    if not console.is_terminal:
        console.width = TABLE_COLUMNS
    return console


def streams(as_json: bool = False) -> Console:
    """The console for people: standard output belongs to programs that asked for JSON."""
    return error_console if as_json else console


def say(text: object, shown: Console = console) -> None:
    """A line for people as it is, whatever names and paths in it look like."""
    shown.print(printable(text, lines=True), markup=False, highlight=False, soft_wrap=True)


def json_stream() -> TextIO:
    """Standard output for programs."""
    return console.file  # type: ignore[return-value]


@contextmanager
def own_lines(as_json: bool = False) -> Iterator[None]:
    """Keeps away from the terminal whatever is not AutoPipe's.

    Warnings of AutoPipe's own loggers are lines of its own, on standard error with ``as_json``.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__ or not _has_files():
        yield  # within own_lines, or in a test that reads what is printed
        return
    tail = ""
    try:
        with (
            tempfile.TemporaryFile() as printed,
            _redirected(printed),
            _notes_on(streams(as_json)),
        ):
            try:
                yield
            except (Exit, BadParameter, OutputError):
                raise
            except Exception:
                tail = _tail(printed)
                raise
    finally:
        if tail.strip():  # before the traceback
            text = f"the last lines printed before:\n{printable(tail, lines=True)}\n"
            error_console.file.write(text)


def _has_files() -> bool:
    try:
        return (sys.stdout.fileno(), sys.stderr.fileno()) == (STDOUT, STDERR)
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _redirected(printed: IO[bytes]) -> Iterator[None]:
    """Standard output and error, of Python and of the process, lead to a file; ours stay."""
    before = sys.stdout, sys.stderr
    own = [os.dup(STDOUT), os.dup(STDERR)]
    with ExitStack() as stack:
        for stream in before:
            stream.flush()
        for number in (STDOUT, STDERR):
            os.dup2(printed.fileno(), number)
        sys.stdout, sys.stderr = others = [
            os.fdopen(os.dup(number), "w", encoding="utf-8", errors="replace", buffering=1)
            for number in (STDOUT, STDERR)
        ]
        _left_open.extend(others)
        console.file = output_to(own[0], before[0], line_buffering=True)
        error_console.file = open(  # noqa: SIM115  # closed below, whatever cannot be written
            own[1], "w", encoding=before[1].encoding, errors="replace", buffering=1
        )
        stack.callback(_give_back, own, before)
        yield
        console.file.flush()


def _give_back(own: Sequence[int], before: tuple[TextIO, TextIO]) -> None:
    """Standard output and error lead where they did, also where that cannot be written."""
    for shown, number, fd in zip((console, error_console), (STDOUT, STDERR), own, strict=True):
        with suppress(OSError, OutputError):
            shown.file.flush()
        os.dup2(fd, number)
        with suppress(OSError, OutputError):
            shown.file.close()
        shown.file = None  # type: ignore[assignment]  # sys.stdout or sys.stderr, again
    sys.stdout, sys.stderr = before


class _Notes(logging.Handler):
    """Warnings of AutoPipe's own as lines for people."""

    def __init__(self, shown: Console):
        super().__init__(logging.WARNING)
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(redacted(record.getMessage()), lines=True)
        self._shown.print(f"note: {text}", markup=False, highlight=False)


@contextmanager
def _notes_on(shown: Console) -> Iterator[None]:
    notes = _Notes(shown)
    for name in PACKAGES:
        logging.getLogger(name).addHandler(notes)
    try:
        yield
    finally:
        for name in PACKAGES:
            logging.getLogger(name).removeHandler(notes)


def _tail(printed: IO[bytes]) -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - TAIL_BYTES))
    return redacted(printed.read().decode("utf-8", errors="replace"))
