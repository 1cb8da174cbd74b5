"""Standard output that cannot be written: said once, on standard error, whichever command it is.

A disk may be full, and whoever reads may have gone. Python says so of its own writes as an
``OSError`` like that of any file, and of what it writes at its very end as an exception that it
ignores; libraries in between have exit codes of their own for it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

STDOUT, STDERR = 1, 2
LOST, BROKEN_PIPE = 1, 141  # exit codes; the second is that of who is ended by SIGPIPE


class OutputError(Exception):
    """Standard output cannot be written. Not an ``OSError``: nobody continues without it."""

    def __init__(self, error: OSError):
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.code = BROKEN_PIPE if error.errno == errno.EPIPE else LOST


class _Output(io.FileIO):
    def write(self, content: object) -> int:
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            raise OutputError(error) from None


def output_to(
    number: int, like: TextIO, line_buffering: bool, own: bool = True
) -> io.TextIOWrapper:
    """A stream to a file descriptor, encoded ``like`` another, which closes its ``own`` descriptor.

    What it cannot write is an ``OutputError``.
    """
    raw = io.BufferedWriter(_Output(number, "w", closefd=own))
    return io.TextIOWrapper(
        raw, encoding=like.encoding, errors="replace", line_buffering=line_buffering
    )


@contextmanager
def told_of_lost_output() -> Iterator[None]:
    """Ends the command with one line where standard output cannot be written; silently in a pipe.

    Raises:
        SystemExit: it could not be written.
    """
    before = sys.__stdout__
    if before is None or sys.stdout is not before:  # there is none, or a test reads what is printed
        yield
        return
    guarded = output_to(STDOUT, before, before.isatty(), own=False)
    sys.stdout = sys.__stdout__ = guarded  # type: ignore[misc]
    try:
        try:
            yield
        finally:
            guarded.flush()
    except OutputError as lost:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDOUT)  # for what is left in buffers, which Python writes at its end
        if lost.code != BROKEN_PIPE:
            notes = cast("list[str]", getattr(lost, "__notes__", []))
            with suppress(OSError):
                print("\n  ".join([f"error: {lost}", *notes]), file=sys.stderr, flush=True)
        raise SystemExit(lost.code) from None
