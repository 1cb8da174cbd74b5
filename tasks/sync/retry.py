"""What a run survives: a server that is restarted, storage that is away for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from tasks.sync.store import StoreError

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 900.0
PAUSE_SECONDS = 2.0

Found = TypeVar("Found")


def call_with_retries(
    action: Callable[[], Found],
    what: str,
    stop: threading.Event | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> Found:
    """The outcome of an action that is repeated while nobody answers.

    Args:
        action: that may be repeated: it changes nothing, or the same again.
        what: it does, for the warning.
        stop: when it is set, the next failure is the last one.
        seconds: how long.

    Raises:
        StoreError, httpx.HTTPError: nobody answered all the time, or something else is wrong.
    """
    deadline, told, stop = time.monotonic() + seconds, False, stop or threading.Event()
    while True:
        try:
            return action()
        except (StoreError, httpx.HTTPError) as error:
            if not _passes(error) or stop.is_set() or time.monotonic() > deadline:
                raise
            if not told:
                log.warning("%s: %s; trying again, for %.0f s at most", what, error, seconds)
                told = True
        stop.wait(PAUSE_SECONDS)


def _passes(error: Exception) -> bool:
    """Whether it may be over in a moment; a request that is refused will be refused again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return error.passing if isinstance(error, StoreError) else True
