"""A warm worker as its supervisor sees it: launched when first needed, and again after a crash."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from trials.models.memory import oom_kills
from trials.process.inbox import Inbox
from trials.process.launch import Launcher, end_group, log_tail

# A worker that was told to end has nothing left to do but to end.
CLOSE_GRACE_SECONDS = 5.0
LOG = "log.txt"


class WarmWorker:
    """One launch of ``trials.process.worker`` at a time, which was given ``served`` jobs so far.

    Its inbox is in the folder ``beside``; None: two folders above the first job.
    """

    def __init__(self, launcher: Launcher, beside: Path | None = None):
        self._launcher, self._beside = launcher, beside
        self._process: subprocess.Popen[bytes] | None = None
        self._inbox: Inbox | None = None
        self._trial_log: Path | None = None
        self._starts = (0, 0)
        self._oom_kills = 0
        self._ending = threading.Lock()  # a closing supervisor and a waiting thread may both kill
        self.served = 0

    def start(self) -> None:
        """Starts the worker if it does not run; only where it was said where its inbox is."""
        if self._beside is not None:
            self._ensure_running(self._beside)

    def submit(self, spec_file: Path) -> None:
        """Gives the worker its next job; starts it if need be."""
        self._ensure_running(self._beside or spec_file.parent.parent)
        inbox = self._inbox
        if inbox is None:
            return  # closed at this moment; who waits will see it
        self._trial_log = spec_file.with_name(LOG)
        # What was written before says nothing about how this trial ends.
        self._starts = _size(self._trial_log), _size(inbox.folder / LOG)
        self._oom_kills = oom_kills()
        self.served += 1
        inbox.put(spec_file)

    def exit_code(self) -> int | None:
        """Exit code of the launcher if it has ended; -9 if the worker was killed here."""
        process = self._process
        return process.poll() if process else -signal.SIGKILL

    def oom_killed(self) -> bool:
        """True if the kernel killed a process for want of memory since the trial was submitted."""
        return oom_kills() > self._oom_kills

    def tail(self) -> str:
        """The last lines of the trial's log, and of what its launcher said meanwhile."""
        inbox = self._inbox
        if self._trial_log is None or inbox is None:
            return ""
        own = log_tail(self._trial_log, self._starts[0])
        launcher = log_tail(inbox.folder / LOG, self._starts[1])
        return "\n".join(part for part in (own, launcher) if part)

    def close(self) -> None:
        """Lets the worker end by itself."""
        if self._process and self._inbox:
            self._inbox.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Ends the worker and all that it started."""
        with self._ending:
            if self._process:
                end_group(self._process)
                self._process = None
            if self._inbox:
                shutil.rmtree(self._inbox.folder, ignore_errors=True)
                self._inbox = None

    def _ensure_running(self, beside: Path) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        # Beside the trials, and not in a temporary folder: all machines of a launch must see it.
        beside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".worker-", dir=beside))
        self._inbox = Inbox(folder)
        self._process = self._launcher.start("trials.process.worker", [folder], folder / LOG)
        self.served = 0


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
