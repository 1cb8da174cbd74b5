"""The program that asks math-verify (`trials.matching.maths`): JSON lines in, an answer a line out.

It imports nothing of this project, and every question has a limit of processor time after which the
system ends the process, whatever it is doing.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

MEMORY_BYTES = 4 << 30


def main(seconds: float) -> None:
    """Answers questions until the input ends; dies of one that takes longer than ``seconds``."""
    with suppress(ValueError, OSError):  # not every system limits it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then closes us
    import math_verify  # before the first limit: it takes a second

    logging.disable(logging.CRITICAL)
    math_verify.verify(math_verify.parse("$1$", parsing_timeout=None), [], timeout_seconds=None)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
    for line in sys.stdin:
        question = json.loads(line)
        if "call" in question:
            import trl.rewards  # noqa: F401  # also before the limit
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _called(question) if "call" in question else _answer(question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=answers, flush=True)


def _called(question: dict[str, Any]) -> float | None:
    """The score of a function of ``trl.rewards``; None where it cannot read the solution."""
    from trl import rewards

    chat = [[{"role": "assistant", "content": question["completion"]}]]
    function = getattr(rewards, question["call"])
    try:
        [score] = function(chat, solution=[question["solution"]], **question["arguments"])
    except (RecursionError, MemoryError):
        return 0.0
    return None if score is None else float(score)


def _answer(question: dict[str, str]) -> bool:
    from math_verify import verify

    try:
        gold = _parsed(question["read"])
        if "as" not in question:
            return bool(gold)
        found = _parsed(question["as"])
        return bool(gold and found) and bool(verify(gold, found, timeout_seconds=None))
    except (Exception, RecursionError, MemoryError):
        return False


def _parsed(text: str) -> list[Any]:
    """The expressions that math-verify reads; a bare formula is first taken as LaTeX."""
    from math_verify import parse

    stripped = text.strip().rstrip(".")
    if "$" not in stripped and "\\(" not in stripped and "\\[" not in stripped:
        found = parse(f"${stripped}$", parsing_timeout=None, fallback_mode="no_fallback")
        if found:
            return list(found)
    return list(parse(text, parsing_timeout=None, fallback_mode="no_fallback"))


if __name__ == "__main__":
    main(float(sys.argv[1]))
