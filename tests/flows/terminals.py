"""The real command in a pseudo-terminal: what a person sees, and what Ctrl-C does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|\x07")
CTRL_C = b"\x03"


class Terminal:
    """A program whose standard input, output and error are a terminal.

    Args:
        command: what is typed.
        home: its current folder and workspace.
        columns: width of the terminal.
        environment: set beside that of the test.
    """

    def __init__(
        self,
        command: Sequence[str],
        home: Path,
        columns: int = 120,
        environment: Mapping[str, str] | None = None,
    ):
        home.mkdir(parents=True, exist_ok=True)
        own = {"AUTOPIPE_HOME": str(home), "TERM": "xterm-256color", **(environment or {})}
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "TERM")}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # the child: nothing but what makes it the program
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(home)
            os.execve(command[0], list(command), inherited | own)
        size = struct.pack("HHHH", 40, columns, 0, 0)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)
        self.raw = ""
        self.code: int | None = None

    def read(self, seconds: float) -> bool:
        """Takes what is printed for so long; False once the program has ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._fd], [], [], min(left, 0.2))
            if not ready:
                continue
            try:
                received = os.read(self._fd, 65536)
            except OSError:  # the other side is closed
                received = b""
            if not received:
                self._reap()
                return False
            self.raw += received.decode("utf-8", errors="replace")
        return True

    def until(self, text: str, seconds: float = 600.0) -> None:
        """Reads until this is on the screen."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            goes_on = self.read(0.1)
            if text in self.text:
                return
            assert goes_on, f"ended with code {self.code} before {text!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {text!r} in {seconds:.0f} s:\n{self.text}"

    def end(self, seconds: float = 900.0) -> int:
        """Reads until the program ends; its exit code."""
        if self.code is None and self.read(seconds):
            self.kill()
            raise AssertionError(f"still there after {seconds:.0f} s:\n{self.text}")
        assert self.code is not None
        return self.code

    def type(self, keys: bytes) -> None:
        """As at the keyboard."""
        os.write(self._fd, keys)

    def kill(self) -> None:
        """Ends the program, if it has not ended, and its terminal."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    @property
    def text(self) -> str:
        """Everything that was printed, without control sequences."""
        return CONTROL.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        """Every line that was on the screen for a moment, without control sequences."""
        return [line.strip() for line in re.split(r"[\r\n]+", self.text) if line.strip()]

    def _reap(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        os.close(self._fd)


def autopipe(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "autopipe", *arguments]
