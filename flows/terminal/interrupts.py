"""Ctrl-C is answered at once, with what to type next, and ends the command within two seconds.

Python raises KeyboardInterrupt in the main thread, once that is back in Python: fitting a model or
loading a library may keep it away for long. So a thread listens, too: it says what is to be said,
and where the command has not ended by itself in time, it ends it. That is safe: what is on disk is
whole at any moment, and what was started ends with who started it.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from flows.terminal.console import console, say, streams

INTERRUPTED = 130  # exit code
OWN_SECONDS = 1.5  # nobody else looks at a server of the command's own
LASTING_SECONDS = 15.0  # a lasting server is told how its flow run ended, workers that theirs did
KEPT = "finished trials are kept"


class Interrupts:
    """The answer to Ctrl-C."""

    def __init__(self) -> None:
        self.notes: list[str] = []  # what to type next; whoever begins a run says so here
        self.kept = False  # whether trials have finished, and so something is kept
        self.seconds = OWN_SECONDS  # after which a command is ended that has not ended itself
        # Called before the command is ended, e.g. to restore the cursor.
        self.closing: list[Callable[[], object]] = []
        self.as_json = False
        self._came = 0
        self._listening = self._answered = False
        self._lock = threading.Lock()

    def __reduce__(self) -> str:
        """Sent by name: Dask sends the flow with a task, and the flow with what it uses."""
        return "interrupts"

    def listen(self) -> None:
        """From now on; for the main thread of a command."""
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(readable,), daemon=True, name="ctrl-c").start()
        self._listening = True

    @contextmanager
    def before_the_end(self, call: Callable[[], object]) -> Iterator[None]:
        """In this context that is called before an interrupted command is ended."""
        self.closing.append(call)
        try:
            yield
        finally:
            self.closing.remove(call)

    def answer(self, text: str) -> None:
        """Says it to people; once, for the main thread and the one that listens both do."""
        with self._lock:
            if not self._answered:
                say(text, streams(self.as_json))
            self._answered = self._listening

    @property
    def came(self) -> bool:
        """True once Ctrl-C was pressed."""
        return self._came > 0

    @property
    def text(self) -> str:
        """The answer."""
        return "\n  ".join([self.ended("interrupted"), *self.notes])

    def ended(self, verb: str) -> str:
        """A sentence on how the command ended, and what is left of it."""
        return f"{verb}; {KEPT}" if self.kept else verb

    def _hear(self, readable: int) -> None:
        while received := os.read(readable, 64):
            for _ in range(received.count(signal.SIGINT)):
                self._came += 1
                if self._came > 1:
                    self._leave()
                timer = threading.Timer(self.seconds, self._leave)
                timer.daemon = True
                timer.start()
                self.answer(self.text)

    def _leave(self) -> None:
        """Ends this process, whatever its main thread is in."""
        closing = threading.Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(0.3)
        for shown in (console, streams(as_json=True)):
            with suppress(Exception):
                if shown.is_terminal and not shown.is_dumb_terminal:
                    shown.file.write("\x1b[?25h")  # the cursor, which a bar hides
                shown.file.flush()
        os._exit(INTERRUPTED)

    def _close(self) -> None:
        from flows.terminal.json_lines import write_event

        for close in self.closing:
            with suppress(Exception):
                close()
        self.answer(self.text)
        if self.as_json:
            write_event("failed", error="KeyboardInterrupt", message=self.text, code=INTERRUPTED)


def this_command() -> str:
    """The command as it was typed, to be typed again."""
    return f"autopipe {shlex.join(sys.argv[1:])}"


interrupts = Interrupts()
