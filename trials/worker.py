"""The program of a warm worker: one launch serves many trials, each from a clean state.

    accelerate launch -m trials.worker INBOX

Importing torch, transformers and TRL costs more than a small trial. What the worker keeps between
trials is the imported code and what depends on data alone; random numbers, memory and Accelerate's
state are as in a new process, so that results are too.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trials.inbox import Inbox
from trials.records import TrialSpec, read_record
from trials.redact import redact_file
from trials.watchdog import end_with_supervisor


def main(inbox: Path) -> None:
    """Serves the jobs of an inbox until it is closed."""
    end_with_supervisor()
    # The slow part of the start; the inbox may fill meanwhile.
    from trials.device import settle_device
    from trials.run import run_trial

    settle_device()
    gc.collect()
    gc.freeze()  # collections between trials need not walk through all that was imported
    for file in Inbox(inbox).jobs():
        spec = read_record(file, TrialSpec)
        with output_to(Path(spec.folder) / "log.txt"):
            run_trial(spec)


@contextmanager
def output_to(file: Path) -> Iterator[None]:
    """Sends what this process prints, also from C++, to the log of the trial at hand.

    Secrets of the environment are taken out of it at the end.
    """
    saved = os.dup(1), os.dup(2)
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        _flush()
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        _flush()
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)
        os.close(target)
        redact_file(file)  # what was printed last comes after the result is seen


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk must not end the worker here
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Interpreter shutdown with loaded torch threads may hang or crash after all work is done.
    _flush()
    os._exit(0)
