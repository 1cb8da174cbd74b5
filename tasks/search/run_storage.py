"""A run's folder on shared storage: sent as it grows, fetched to resume it on another machine."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Self

from tasks.config.names import stored_name_of
from tasks.config.paths import cache_folder
from tasks.config.settings import TuneSettings
from tasks.execution.base import HERE, LOG, RESULT, SPEC, TRIALS, is_retryable
from tasks.monitoring.observers import (
    CheckpointsRemoved,
    RunEvent,
    RunFinished,
    RunObserver,
    RunStarted,
    TrialFinished,
)
from tasks.runs.folder import RunFolder
from tasks.sync.background import Background
from tasks.sync.lease import LEADER_FILE, Lease, current_leader
from tasks.sync.lock import locked
from tasks.sync.store import Store, StoredFolder, open_store
from trials.checkpoints.entries import CHECKPOINTS
from trials.io.atomic import put_in_place
from trials.io.errors import SettingsError
from trials.spec.records import TrialResult, read_record

log = logging.getLogger(__name__)


def open_run(run: str, root: Path) -> RunFolder:
    """A run named by its id under ``root``, its folder, or the URL that it has on shared storage.

    Raises:
        SettingsError: there is no such run, one of that id is here already, or it is led just now.
        Locked: another process fetches it.
    """
    if "://" not in run:
        return RunFolder.open(run, root)
    url, name = stored_name_of(run)
    folder = root / name
    if folder.exists():
        raise SettingsError(
            f"a run {name} is in {root} already, and may know more than the storage\n"
            f"  resume it with: autopipe tune --resume {name}\n"
            f"  or move {folder} away, then repeat the command"
        )
    place = cache_folder() / "fetched" / name
    with locked(place, f"the fetching of {run}", "wait for it, then resume the run it made"):
        _fetch(open_store(url), name, place / "run", run)
        root.mkdir(parents=True, exist_ok=True)
        put_in_place(place / "run", folder)
    return RunFolder.open(str(folder), root)


def view_run(run: str, root: Path) -> RunFolder:
    """A run to look at, named as for ``open_run``; also while another process leads it.

    Of one on shared storage a copy is fetched, without checkpoints, to the cache: not to ``root``,
    where it would be taken for the run itself.

    Raises:
        SettingsError: there is no such run.
        StoreError: the storage cannot be read.
    """
    if "://" not in run:
        return RunFolder.open(run, root)
    url, name = stored_name_of(run)
    place = cache_folder() / "viewed" / name
    with locked(place, f"the copy of {run}", "another command looks at it; repeat this one"):
        shutil.rmtree(place / name, ignore_errors=True)
        open_store(url).pull(name, place / name, exclude=(CHECKPOINTS,))
    if not (place / name / "run.json").exists():
        raise SettingsError(f"no run at {run}: no run.json there")
    return RunFolder(place / name)


def _fetch(store: Store, name: str, draft: Path, url: str) -> None:
    refuse_if_led(StoredFolder(store, name))
    shutil.rmtree(draft, ignore_errors=True)  # of a fetch that was killed; it may be outdated
    store.pull(name, draft)
    if not (draft / "run.json").exists():
        raise SettingsError(f"no run at {url}: no run.json there")
    run = RunFolder(draft)
    info = run.info()
    if info.settings.store not in (None, store.url):  # moved, or mounted at another path
        settings = info.settings.model_copy(update={"store": store.url})
        run.write_info(info.model_copy(update={"settings": settings}))


def refuse_if_led(run: StoredFolder) -> None:
    """Makes sure that no other process leads a run.

    Raises:
        SettingsError: another one leads it now.
    """
    if leader := current_leader(run):
        raise SettingsError(
            f"run {run.name} of {run.store.url} is led by {leader}: see its {LEADER_FILE}\n"
            "  wait for it or end it; a leader that was killed is noticed within seconds"
        )


class RunUploader(Background, RunObserver):
    """Sends what is new in a run's folder after each trial, and all of it when it is left.

    It is sent from a thread of its own: the search does not wait for the storage. Where the
    storage cannot be reached the run continues, and a warning says so. Unless it is sent ``whole``,
    workers send the files of trials, but for specs and the results that the search was told.

    Raises:
        SettingsError: another process leads this run, from its copy on the storage.
        StoreError: the storage cannot be read or written at all.
    """

    def __init__(self, run: RunFolder, store: Store, whole: bool):
        super().__init__("stored-run")
        self._run, self._store, self._whole = run, store, whole
        self._finished: set[str] = set()
        self._removed: deque[Path] = deque()  # that are in the store yet
        self._lease = Lease(StoredFolder(store, run.run_id), file=LEADER_FILE)
        self._due = threading.Event()

    def __enter__(self) -> Self:
        refuse_if_led(StoredFolder(self._store, self._run.run_id))
        self._lease.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        self.over.set()
        self._due.set()
        super().__exit__(*raised)
        self._lease.__exit__(*raised)

    def notify(self, event: RunEvent) -> None:
        match event:
            case TrialFinished(spec):
                self._finished.add(spec.trial_id)
            case CheckpointsRemoved(checkpoints):
                self._removed.extend(checkpoints)
            case RunStarted() | RunFinished():
                pass
            case _:
                return
        self._due.set()

    def work(self) -> None:
        last = False
        while not last:
            self._due.wait()
            self._due.clear()
            last = self.over.is_set()  # checked before sending: what was written until then is sent
            self._send()

    def _send(self) -> None:
        if not (self._run.path / "run.json").exists():
            return  # nothing that could be resumed
        try:
            self._store.push(self._run.path, self._run.run_id, self._is_sent)
            while self._removed:
                checkpoint = self._removed[0].relative_to(self._run.path)
                self._store.remove_folder(self._run.run_id, checkpoint.as_posix())
                self._removed.popleft()
        except Exception as error:  # whatever becomes of the copy, the run itself continues
            log.warning("%s\n  what is missing there is sent with the next trial", error)

    def _is_sent(self, file: PurePosixPath) -> bool:
        if file.parts[0] != TRIALS:
            return True
        finished = len(file.parts) > 1 and file.parts[1] in self._finished
        if file.name == RESULT:
            return finished or (self._whole and self._is_final(file))
        if file.name == LOG and not finished:  # its secrets are taken out at the end
            return False
        return self._whole or file.name == SPEC or file.match("result.*.json")

    def _is_final(self, file: PurePosixPath) -> bool:
        """True unless the trial may be tried again: then this is not yet its result."""
        try:
            return not is_retryable(read_record(self._run.path / file, TrialResult))
        except FileNotFoundError:  # discarded at this moment
            return False


def stored(run: RunFolder, settings: TuneSettings) -> AbstractContextManager[RunObserver]:
    """Keeps a run on the storage that its settings name, if they name any."""
    if settings.store is None:
        return nullcontext(RunObserver())
    return RunUploader(run, open_store(settings.store), whole=settings.trials_on == HERE)
