"""Tells people, through a notification block of Prefect's, how a recurring run ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.notifications import NotificationBlock

from tasks.output.escape import printable
from trials.io.errors import SettingsError
from trials.io.redact import redacted

log = logging.getLogger(__name__)


class Notification:
    """What is told at the end."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@contextmanager
def notify_on_exit(block: str | None, subject: str) -> Iterator[Notification]:
    """Sends what was said when the work is over, or why it failed; None sends nothing.

    Args:
        block: type and name of a saved block: Slack, e-mail, a webhook, anything of Apprise's.
        subject: of the message.

    Raises:
        SettingsError: there is no such block; said before any work is done.
    """
    target, news = _load(block) if block else None, Notification()
    try:
        yield news
    except BaseException as error:
        if target is not None:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            _send(target, f"{subject}: failed", "\n".join([*news.lines, reason]))
        raise
    if target is not None:
        _send(target, subject, "\n".join(news.lines) or "done")


def _load(name: str) -> NotificationBlock:
    try:
        block = Block.load(name)
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"there is no notification block {name!r}: {error}\n"
            "  make one on the Prefect page Blocks, or list them with: prefect block ls"
        ) from None
    if not isinstance(block, NotificationBlock):
        raise SettingsError(f"the block {name!r} is a {type(block).__name__}, no notification")
    return block


def _send(block: NotificationBlock, subject: str, body: str) -> None:
    try:
        # Sent before it returns: a coroutine is what it gives only where a loop runs.
        text, head = printable(redacted(body), lines=True), printable(redacted(subject))
        sent: Any = block.notify(text, head)
        del sent
    except Exception as error:  # the work is done, whether somebody hears of it or not
        log.warning("the notification could not be sent: %s", redacted(str(error)))
