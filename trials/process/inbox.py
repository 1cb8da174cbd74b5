"""The queue from a supervisor to a warm worker: numbered files in the worker's own folder.

    000001.job      path of the first spec file
    000002.job      path of the second ...
    closed          no more jobs will come

Every process of a distributed worker reads the same files in the same order, so that they agree on
the next trial without talking to each other, and may wait for it as long as they like.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from trials.io.atomic import write_text

FAST_POLL_SECONDS, SLOW_POLL_SECONDS = 0.01, 0.1
FAST_POLLS = 500


@dataclass
class Inbox:
    """Both ends of a worker's inbox.

    Attributes:
        folder: made by the supervisor; a worker whose inbox is gone ends.
        sent: jobs put so far by this end.
    """

    folder: Path
    sent: int = 0

    def put(self, file: Path) -> None:
        """Appends one job."""
        self.sent += 1
        # Whole or not at all: a job is read as soon as its file is seen.
        write_text(self.folder / f"{self.sent:06d}.job", str(file))

    def close(self) -> None:
        """Tells the worker to end once it has done what was put."""
        write_text(self.folder / "closed", "")

    def jobs(self) -> Iterator[Path]:
        """Jobs in their order, waiting for each; ends when the inbox is closed or gone."""
        for number in count(1):
            file = self.folder / f"{number:06d}.job"
            for poll in count():
                # Looked at first: what was put before the closing is still to be done.
                ended = not self.folder.exists() or (self.folder / "closed").exists()
                if file.exists():
                    break
                if ended:
                    return
                time.sleep(FAST_POLL_SECONDS if poll < FAST_POLLS else SLOW_POLL_SECONDS)
            yield Path(file.read_text(encoding="utf-8"))
