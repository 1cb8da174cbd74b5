"""A run that is interrupted ends with the command that goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.run_folder import RunInfo
from tasks.watch import Several, Watcher, watched_by


class _Begun(Watcher):
    """Remembers the run, once there is something to go on with."""

    info: RunInfo | None = None

    def begun(self, info: RunInfo) -> None:
        self.info = info


@contextmanager
def resumable(watcher: Watcher) -> Iterator[None]:
    """Tells ``watcher`` of the run that a flow leads; what ends it is given a note how to go on."""
    begun = _Begun()
    try:
        with watched_by(Several([begun, watcher])):
            yield
    except BaseException as error:
        if begun.info is not None:
            error.add_note(f"go on with: autopipe tune --resume {begun.info.run_id}")
            if store := begun.info.settings.store:
                url = f"{store.rstrip('/')}/{begun.info.run_id}"
                error.add_note(f"on another machine: autopipe tune --resume {url}")
        raise
