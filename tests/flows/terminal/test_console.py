"""The size of the terminal that is written to."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

import pytest

from flows.terminal.console import OwnConsole


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((24, 100), (100, 24)),
        ((0, 0), (80, 25)),  # as of `docker run -t` and `script` without a terminal of their own
    ],
)
def test_lines_are_written_whatever_size_a_terminal_says_it_has(
    given: tuple[int, int], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    # Rich asks these where ours does not know.
    monkeypatch.setattr("os.get_terminal_size", _size_of_the_first(os.get_terminal_size))
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as read, open(follower, "w") as terminal:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", *given, 0, 0))
        shown = OwnConsole(file=terminal)
        assert tuple(shown.size) == expected
        shown.print("plan: a full trial takes about 2 s")
        terminal.flush()
        assert b"plan: a full trial" in read.read(1000)


def _size_of_the_first(ask):  # type: ignore[no-untyped-def]
    def size(file: int) -> os.terminal_size:
        if file in (0, 1, 2):  # of the test run itself
            raise OSError
        return ask(file)

    return size
