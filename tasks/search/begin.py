"""The start of a run: inputs, settings and history are pinned in its folder before any trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ConfigSpace import ConfigurationSpace

from tasks.config.paths import BUNDLED_OFFLINE, OfflineFolder, offline_folder
from tasks.config.settings import TuneSettings
from tasks.history.rows import history_files, read_history, row_count, run_key
from tasks.inputs.auto_space import SearchedSpace, searched_space
from tasks.inputs.prepare import CheckedInputs, Inputs
from tasks.inputs.spaces import space_text
from tasks.runs.folder import DatasetInfo, HistoryInfo, ProxyInfo, RunFolder, RunInfo
from tasks.runs.formatting import pluralize
from trials.data.dataset import SPLITS
from trials.io.errors import SettingsError
from trials.outcomes.provenance import PACKAGES, git_commit, versions

FEATURES = OfflineFolder(BUNDLED_OFFLINE).features.name
OWN_PACKAGES = ("prefect", "botorch", "gpytorch", "catboost", "pandas", "ConfigSpace")


@dataclass(frozen=True)
class PinnedHistory:
    """The history that a run learns from."""

    files: list[Path]
    features: Path | None  # the table of meta-features that describes it
    used: bool | None = None  # whether the search began with it; None if it has not begun
    repeated: int = 0  # trials of earlier runs with the same settings, which are not learned from


def space_of_run(settings: TuneSettings, run: RunFolder, inputs: CheckedInputs) -> SearchedSpace:
    """The space of a run: for a new one that of its settings, for a resumed one the original.

    Raises:
        SettingsError, HyperparameterError: the space of a new run cannot be used, or not for its
            model.
    """
    if (run.path / "run.json").exists():
        space = ConfigurationSpace.from_serialized_dict(run.info().space)
        return SearchedSpace(settings, space)
    return searched_space(settings, len(inputs.dataset.preferences))


def pin_history(
    settings: TuneSettings, run: RunFolder, inputs: CheckedInputs, history: Path
) -> PinnedHistory:
    """The history of a run: the present one for a new run, the original one for a resumed run.

    Raises:
        SettingsError: a resumed run finds other data, or lacks a history file it learned from.
    """
    features, used, repeated = run.path / FEATURES, None, 0
    if (run.path / "run.json").exists():
        info = run.info()
        found, began = inputs.dataset.fingerprint, info.dataset.fingerprint
        if found != began:
            raise SettingsError(
                f"{inputs.dataset.path} changed since run {info.run_id} began "
                f"(fingerprint {found}, was {began}); restore the data, or start a new run"
            )
        used = info.history.used
        files = [Path(file) for file in info.history.files]
    else:
        history.mkdir(parents=True, exist_ok=True)  # that the run joins it may be long from now
        key = run_key(settings, inputs.dataset.fingerprint)
        files = history_files(history, without_key=key) if settings.use_history else []
        if settings.use_history:
            repeated = sum(map(row_count, set(history_files(history)) - set(files)))
        own = history / FEATURES  # that describes this history; else the project's does
        known = own if own.exists() else offline_folder().features
        if files and known.exists():
            shutil.copyfile(known, features)
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise SettingsError(
            f"run {run.run_id} learned from {', '.join(missing)}, now missing; "
            "restore it with: git checkout or dvc checkout"
        )
    return PinnedHistory(files, features if features.exists() else None, used, repeated)


def repetition_text(learned: PinnedHistory) -> str:
    """That a repetition does not learn from the first run, for people; empty where it is none."""
    if not learned.repeated:
        return ""
    return (
        f"{pluralize(learned.repeated, 'trial')} of earlier runs with these settings on this data "
        "are left out, so that this run repeats them; another --seed learns from them"
    )


def record_history_use(run: RunFolder, used: bool) -> None:
    """Records whether the search uses the history, so that a resumed search does the same."""
    info = run.info()
    history = info.history.model_copy(update={"used": used})
    run.write_info(info.model_copy(update={"history": history}))


def begin_run(
    settings: TuneSettings,
    run: RunFolder,
    inputs: Inputs,
    space: ConfigurationSpace,
    files: list[Path],
    history: Path,
    proxies: Sequence[Inputs] = (),
) -> RunInfo:
    """Writes ``run.json``, or reads it if the run is resumed.

    The run learns from ``files``; its trials join the ``history``, a folder.
    """
    if (run.path / "run.json").exists():
        return run.info()
    rows = read_history(files)
    dataset = inputs.dataset
    info = RunInfo(
        run_id=run.run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        dataset=DatasetInfo(
            name=inputs.dataset_id,
            path=str(dataset.path),
            fingerprint=dataset.fingerprint,
            reward=str(dataset.card.reward),
            reward_inferred=dataset.reward_inferred,
            rows={split: len(dataset.splits[split]) for split in SPLITS},
            warnings=list(inputs.warnings),
        ),
        model=inputs.model_id,
        model_parameters=inputs.probe.parameters,
        space=json.loads(space_text(space)),
        meta=inputs.meta,
        base_validation=inputs.probe.scores["base"],
        proxies=[
            ProxyInfo(
                model=proxy.model_id,
                path=proxy.model,
                parameters=proxy.probe.parameters,
                meta=proxy.meta,
            )
            for proxy in proxies
        ],
        history=HistoryInfo(
            files=[str(file) for file in files],
            trials=len(rows),
            datasets=rows["dataset_id"].nunique() if len(rows) else 0,
            folder=str(history.resolve()),
        ),
        versions=versions((*PACKAGES, *OWN_PACKAGES)),
        git_commit=git_commit(),
    )
    run.write_info(info)
    return info
