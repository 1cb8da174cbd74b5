"""Work in a thread of its own for as long as a context lasts."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Self

log = logging.getLogger(__name__)


class Background(ABC):
    """A context whose ``work`` begins when it is entered and has ended when it is left.

    Subclasses write ``work``, which returns soon after ``over`` is set. What it raises is logged at
    once, and raised where the context is left unless something else is raised there already.
    """

    def __init__(self, name: str):
        self.over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded_work, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Works until ``over`` is set."""

    def _guarded_work(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self._error = error
            log.error("%s ended: %s: %s", self._thread.name, type(error).__name__, error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.over.set()
        # The work itself may leave the context, and so may who never entered it.
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()
            if self._error is not None and not any(raised):
                raise self._error
