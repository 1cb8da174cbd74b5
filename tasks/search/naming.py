"""Names of runs, and the folder, settings and history of a flow run."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run
from pydantic import ValidationError

from tasks.config.names import checked_name, short_name, slug
from tasks.config.paths import cache_folder, runs_folder
from tasks.config.settings import Budget, TuneSettings
from tasks.history.location import resolve_history_dir
from tasks.runs.folder import RunFolder
from tasks.runs.spending import Spending, check_budget
from tasks.search.run_storage import open_run
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash
from trials.io.problems import sentence
from trials.io.record_files import read_json
from trials.spec.records import write_json

# Flow run id -> run id, so that a flow run that is started again resumes.
OF_FLOW_RUNS = "flow-runs"


def flow_run_title() -> str:
    """The name of the current flow run on Prefect's pages."""
    parameters: Mapping[str, Any] = flow_run.parameters
    run, settings = parameters.get("run"), parameters.get("settings")
    if run is not None:
        return f"{Path(run).name} resumed"
    return _given(settings and TuneSettings.model_validate(settings)).title


def resolve_settings(run: RunFolder, given: TuneSettings | None) -> TuneSettings:
    """A run's own settings, with the budget of those given; for a new run those given.

    Changes the run's record, so the caller must hold its lock.

    Raises:
        SettingsError: there are none, or the run cannot go on with their budget.
    """
    if not (run.path / "run.json").exists():
        return _given(given)
    info = run.info()
    if given is None or given.budget == info.settings.budget:
        return info.settings
    settings = with_budget(run, given.budget)
    # Its search keeps the first budget: with another one it might propose other trials, and would
    # not find the finished ones again.
    changes = {"settings": settings, "first_budget": info.search_budget}
    run.write_info(info.model_copy(update=changes))
    return settings


def with_budget(run: RunFolder, budget: Budget) -> TuneSettings:
    """A run's own settings with another budget, checked together as those of a new run are.

    Raises:
        SettingsError: they do not go with that budget, or the run has spent it already.
    """
    own = run.info().settings
    fields = {name: getattr(own, name) for name in own.model_fields_set}
    try:
        settings = TuneSettings.model_validate(fields | {"budget": budget})
    except ValidationError as error:
        more = Spending.of(run).more(own.budget)
        command = f"  resume with: autopipe tune --resume {run.run_id} --budget {more}"
        raise SettingsError("\n".join([*map(sentence, error.errors()), command])) from None
    check_budget(run, budget)
    return settings


def resolve_run_history(run: RunFolder, given: Path | None) -> Path:
    """The history that a run learns from and joins: as given, as when it began, or the project's.

    Changes the run's record if another one is given, so the caller must hold its lock.

    Raises:
        SettingsError: the one that it began with is gone.
    """
    if not (run.path / "run.json").exists():
        return resolve_history_dir(given)
    info = run.info()
    if given is None:
        folder = info.history.folder and Path(info.history.folder)  # of old runs not known
        if folder and not folder.is_dir():
            raise SettingsError(
                f"run {run.run_id} joins the history at {folder}, which is not there\n"
                f"  restore it, or name another one: autopipe tune --resume {run.run_id} "
                "--history FOLDER"
            )
        return resolve_history_dir(folder or None)
    history = info.history.model_copy(update={"folder": str(given.resolve())})
    if history != info.history:
        run.write_info(info.model_copy(update={"history": history}))
    return resolve_history_dir(given)


def _given(settings: TuneSettings | None) -> TuneSettings:
    if settings is None:
        raise SettingsError("nothing to tune: expected settings with a dataset, or a run's id")
    return settings


def open_run_folder(settings: TuneSettings | None, run: str | None) -> RunFolder:
    """The folder of a named run, of the run that this very flow run began before, or a new one.

    The flow run of a killed worker is started again, and Prefect retries flow runs that crashed:
    both resume what is on disk. A flow within another has a new id each time, so the outermost one
    and the settings identify the run.

    Raises:
        SettingsError: there is no run of that name, or nothing is given.
    """
    if run is not None:
        return open_run(run, runs_folder())
    settings = _given(settings)
    id = flow_run.root_flow_run_id
    if id is None:
        return RunFolder(new_run_folder(settings))
    own = content_hash(settings.model_dump_json(), digits=8)
    note = cache_folder() / OF_FLOW_RUNS / f"{id}-{own}.json"
    if note.exists():
        return RunFolder(runs_folder() / checked_name(str(read_json(note).get("run", ""))))
    folder = new_run_folder(settings)
    write_json(note, {"run": folder.name})
    return RunFolder(folder)


def new_run_folder(settings: TuneSettings) -> Path:
    """Makes a new folder named after dataset, model and seed.

    If runs are kept on shared storage, no other machine uses the same name for another run.
    """
    names = short_name(settings.dataset), short_name(settings.model)
    stem = slug(f"{'-'.join(names)}-s{settings.seed}".lower())
    for number in itertools.count(1):
        own = f"-{uuid.uuid4().hex[:6]}" if settings.store else ""
        folder = runs_folder() / f"{stem}-{number:03d}{own}"
        with suppress(FileExistsError):  # taken, perhaps by a run that starts at this moment
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("there are always more numbers")
