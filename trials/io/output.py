"""Sends what a job prints to the job's own log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from trials.io.redact import redact_file


@contextmanager
def output_to(file: Path) -> Iterator[None]:
    """Sends what this process prints, also from C++, to the log of the trial at hand.

    Secrets of the environment are taken out of it at the end.
    """
    saved = os.dup(1), os.dup(2)
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        flush()
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        flush()
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)
        os.close(target)
        redact_file(file)  # what was printed last comes after the result is seen


def exit_now(code: int) -> NoReturn:
    """Ends this process at once: shutting down with loaded torch threads may hang or crash."""
    flush()
    os._exit(code)


def flush() -> None:
    """Flushes both standard streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk must not end the worker here
            continue
