"""Equality of mathematical expressions by math-verify, in a process that can be ended.

math-verify works out factorials, binomials and towers of powers, and its own time limits, which are
signals, interrupt neither big-number arithmetic nor a regular expression. So what is sure to be
endless is refused by its looks, and the rest runs in a child process with limits of processor time
and memory that the operating system enforces.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from trials.io.imports import child_environment

MAX_EXPRESSION_CHARACTERS = 600
# What a comparison may take: of the child's processor time, enforced by the system in the child ...
CPU_SECONDS = 2.0
# ... and of the clock, as a last resort on a machine that is far too busy.
WALL_SECONDS = 60.0

TIMED_OUT = object()
_ENDLESS = re.compile(
    r"\d{4,}\s*\)?\s*!"  # the factorial of 1000 or more
    r"|!\s*\)?\s*!"
    r"|\\[dt]?binom\s*\{?\s*\d{4,}"
    r"|(?:\^|\*\*)[\s({-]*\d{5,}"  # an exponent of five digits or more
    r"|(?:\^|\*\*)[\s({-]*\d+[\s)}]*(?:\^|\*\*|!)"  # one that is itself raised to a power
    r"|(?:\^|\*\*)\s*[({][^)}]*(?:\^|\*\*|!|\*|\\times|\\cdot|×|·)"
    r"|\d{400,}"
)


def is_intractable(text: str) -> bool:
    """True when working out what is written would take too long to be tried."""
    return len(text) > MAX_EXPRESSION_CHARACTERS or bool(_ENDLESS.search(text))


@lru_cache(maxsize=65_536)
def is_parsable(text: str) -> bool:
    """True when math-verify reads an expression in a text."""
    return not is_intractable(text) and _child.ask({"read": text}) is True


@lru_cache(maxsize=65_536)
def expressions_equal(answer: str, text: str) -> bool:
    """True when math-verify takes the expression in a text for the right answer.

    False where it would take longer than ``CPU_SECONDS``.
    """
    if is_intractable(answer) or is_intractable(text):
        return False
    return _child.ask({"read": answer, "as": text}) is True


def trl_score(name: str, completion: str, solution: str, arguments: dict[str, Any]) -> float | None:
    """The score by a function of ``trl.rewards``; 0 if it takes too long, None if unreadable."""
    question = {"call": name, "completion": completion, "solution": solution}
    score = _child.ask({**question, "arguments": arguments})
    return 0.0 if score is TIMED_OUT else None if score is None else float(score)


class _Child:
    """The process that asks math-verify; started when first needed, and again after its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, question: dict[str, Any]) -> Any:
        """The child's answer; ``TIMED_OUT`` when the question was its end."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process, self._owner = _start(), os.getpid()
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(WALL_SECONDS, process.kill)
            timer.daemon = True
            timer.start()
            try:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:  # it ended
                line = ""
            finally:
                timer.cancel()
            if not line.endswith("\n"):
                self._end()
                return TIMED_OUT
            return json.loads(line)

    def forget(self) -> None:
        """Leaves the child to the process that this one was forked from."""
        self._lock, self._process = threading.Lock(), None

    def close(self) -> None:
        if self._owner == os.getpid():
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Leaving the block closes the pipes; what was written cannot be sent any more.
            with suppress(OSError), process:
                pass


def _start() -> subprocess.Popen[str]:
    # The file itself, with -P: nothing is imported from the folder that the user is in.
    program = str(Path(__file__).with_name("maths_child.py"))
    return subprocess.Popen(
        [sys.executable, "-P", program, str(CPU_SECONDS)],
        env=child_environment({"OMP_NUM_THREADS": "1"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    )


_child = _Child()
atexit.register(_child.close)
os.register_at_fork(after_in_child=_child.forget)
