"""A trial whose run is on shared storage: its inputs are fetched, and its files are sent back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.config.names import checked_name, checked_path
from tasks.config.paths import cache_folder
from tasks.execution.base import LOG, RESULT, SPEC, run_folder_of, stored_name
from tasks.sync.background import Background
from tasks.sync.retry import call_with_retries
from tasks.sync.store import Store, StoredFolder, StoreError, open_store
from trials.io.redact import redact_file
from trials.spec.records import TrialSpec

PUSH_SECONDS = 5.0
DATASETS, MODELS = "datasets", "models"
CONTINUED = "continued"  # checkpoints that trials resume from, a copy for each


def send_inputs(spec: TrialSpec, store: Store) -> None:
    """Sends what another machine needs for a trial: dataset, model, checkpoint to resume from."""
    store.push(Path(spec.dataset), f"{DATASETS}/{spec.dataset_fingerprint}")
    model = Path(spec.fidelity.model)
    if model.is_dir():
        store.push(model, _model_name(spec))
    if spec.continue_from is not None:
        run = run_folder_of(spec)
        source = Path(spec.continue_from)
        store.push(source, f"{run.name}/{source.relative_to(run).as_posix()}")


@contextmanager
def mirrored(spec: TrialSpec, url: str) -> Iterator[tuple[TrialSpec, StoredFolder]]:
    """The trial as it is on this machine, and its run's folder in the store.

    While it runs, its events and its log are sent every few seconds; at the end all of its folder,
    which is then removed here, so that a worker's disk holds only the trials that run. Dataset and
    model stay for the next ones.

    Raises:
        StoreError: the storage is away for longer than it is waited for.
    """
    store = open_store(url)
    own = call_with_retries(lambda: fetch_inputs(spec, store), "fetching what a trial needs")
    try:
        with _Sender(own, store):
            yield own, StoredFolder(store, checked_name(run_folder_of(spec).name))
    except BaseException:
        with suppress(StoreError, OSError):  # why it ended says more
            _send(own, store)
        raise
    call_with_retries(lambda: _send(own, store), "sending what a trial made")
    for folder in (Path(own.folder), _checkpoint_copy(spec)):
        shutil.rmtree(folder, ignore_errors=True)


def fetch_inputs(spec: TrialSpec, store: Store) -> TrialSpec:
    """The trial with its paths on this machine, once all that it needs was fetched.

    Also fetches what an earlier attempt left, on any machine.
    """
    run, mirror = run_folder_of(spec), _mirror()
    local = mirror / stored_name(spec)
    dataset = mirror / DATASETS / checked_name(spec.dataset_fingerprint)
    store.pull(f"{DATASETS}/{spec.dataset_fingerprint}", dataset)
    single = dataset / Path(spec.dataset).name  # a single file is in a folder now
    changes: dict[str, object] = {
        "folder": str(local),
        "dataset": str(single if single.is_file() else dataset),
    }
    if Path(spec.fidelity.model).is_absolute():
        model = mirror / _model_name(spec)
        store.pull(_model_name(spec), model)
        changes["fidelity"] = spec.fidelity.model_copy(update={"model": str(model)})
    if spec.continue_from is not None:
        inside = checked_path(Path(spec.continue_from).relative_to(run).as_posix())
        checkpoint = _checkpoint_copy(spec) / inside
        store.pull(f"{run.name}/{inside}", checkpoint)
        changes["continue_from"] = str(checkpoint)
    # The store knows whether there is one that counts: a failure is taken out to be tried again.
    (local / RESULT).unlink(missing_ok=True)
    store.pull(stored_name(spec), local)
    return spec.model_copy(update=changes)


class _Sender(Background):
    """Sends what a trial has made so far, every few seconds."""

    def __init__(self, own: TrialSpec, store: Store):
        super().__init__("mirror")
        self._own, self._store = own, store

    def work(self) -> None:
        while not self.over.wait(PUSH_SECONDS):
            with suppress(StoreError, OSError):  # the storage may be away for a moment
                _send(self._own, self._store)


def _send(own: TrialSpec, store: Store) -> None:
    """Sends the trial's folder without its spec, whose paths are of this machine."""
    folder = Path(own.folder)
    redact_file(folder / LOG)
    store.push(folder, stored_name(own), lambda file: file.name != SPEC)


def _mirror() -> Path:
    return cache_folder() / "mirror"


def _checkpoint_copy(spec: TrialSpec) -> Path:
    return _mirror() / run_folder_of(spec).name / CONTINUED / Path(spec.folder).name


def _model_name(spec: TrialSpec) -> str:
    """The folder of a trial's base model in a store."""
    return f"{MODELS}/{checked_name(spec.model_fingerprint or Path(spec.fidelity.model).name)}"
