"""Work that goes on in a thread of its own for as long as a context lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """A context whose ``work`` begins when it is entered and has ended when it is left.

    Subclasses write ``work``, which returns soon after ``over`` is set.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.work, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """What is done meanwhile."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.over.set()
        if threading.current_thread() is not self._thread:  # the work itself may leave the context
            self._thread.join()
