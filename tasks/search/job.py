"""A tune run at work: its lock, storage, observers, launchers and ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.config.settings import TuneSettings
from tasks.config.started import seconds_before
from tasks.execution.backend import check_backend
from tasks.execution.gpus import trial_launchers
from tasks.monitoring.observers import RunObserver, TrialLogged, observe
from tasks.planning.warm_up import FOLDER as WARM_UP
from tasks.runs.folder import RunFolder
from tasks.runs.ledger import LEDGER, Ledger
from tasks.search.naming import open_run_folder, resolve_run_history, resolve_settings
from tasks.search.run_storage import stored
from tasks.sync.lock import run_lock
from trials.process.launch import Launcher
from trials.spec.events import Event
from trials.spec.records import TrialSpec

BeforeTheEnd = Callable[[Callable[[], object]], AbstractContextManager[None]]


@dataclass(frozen=True)
class Job:
    """Everything that the parts of a run need."""

    settings: TuneSettings
    folder: RunFolder
    history: Path
    observer: RunObserver
    ledger: Ledger
    launchers: Sequence[Launcher]

    def on_event(self, spec: TrialSpec, event: Event) -> None:
        """Passes an event of a trial on; time goes on with each of them."""
        self.ledger.tick()
        if not spec.trial_id.startswith(WARM_UP):
            self.observer.notify(TrialLogged(spec, event))


@contextmanager
def open_job(
    settings: TuneSettings | None, run: str | None, history: Path | None, guarded: BeforeTheEnd
) -> Iterator[Job]:
    """A run that begins or is resumed, with all that it holds; released when the context ends.

    Args:
        settings: None: those that it began with.
        run: id, folder or URL of a run to resume; None begins a new one.
        history: folder to learn from and to append to; None: the usual one.
        guarded: has a function called even if the process is ended at once.

    Raises:
        SettingsError: neither settings nor a run are given, or something in them cannot work.
    """
    folder = open_run_folder(settings, run)
    with (
        run_lock(folder.path, records=("run.json", "trials/[0-9]*")) as tidy,
        guarded(tidy),
        stored(folder, settings := resolve_settings(folder, settings)) as storage,
        observe(folder, storage) as observer,
        trial_launchers(settings, observer.phase) as launchers,
    ):
        check_backend(settings)
        path, already = folder.path / LEDGER, seconds_before()
        ledger = Ledger(path, settings.budget, settings.finalist_share, already=already)
        resolved = resolve_run_history(folder, history)
        yield Job(settings, folder, resolved, observer, ledger, launchers)
