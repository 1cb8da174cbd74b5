"""Results on disk: finished runs are not repeated, and no two settings share a file."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.replay.histories import frame_fingerprint, history_without
from benchmarks.replay.strategies import NO_HISTORY, STRATEGIES
from benchmarks.replay.tables import ReplayTask, replay_task
from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder
from tasks.config.paths import BUNDLED_OFFLINE, ROOT, OfflineFolder
from tasks.inputs.spaces import load_space, space_text
from tasks.offline.feature_groups import learned_features
from tasks.offline.train import past_trials
from trials.io.atomic import new_folder, write_text
from trials.io.hashing import content_hash

RESULTS = ROOT / "benchmarks" / "results" / "replay"
FORMAT = 1
NAMES_ON_DISK = {"ablate": "without"}  # of options that have another name in the program
# Code that decides what the offline models hold, and what a baseline proposes.
OFFLINE_CODE = ("core", "space", "history", "gp", "offline")
BASELINE_CODE = (
    "space/axes.py", "space/candidates.py", "space/encoding.py", "online/optuna_strategies.py"
)  # fmt: skip
MODEL_SEED = 0  # of the shuffled history and of the offline models, the same for every run


@dataclass(frozen=True)
class Settings:
    """Settings that all runs of a benchmark share."""

    model: str = "tiny-1m"
    space: str = "sft_grpo"
    budget: float = 20.0  # in mean costs of a full-length trial of the dataset
    results: Path = RESULTS


@dataclass(frozen=True)
class Job:
    """All seeds of one strategy with one history on one dataset."""

    strategy: str
    variant: str
    dataset: str

    def __str__(self) -> str:
        history = "" if self.variant in (NO_HISTORY, "true") else f" ({self.variant} history)"
        return f"{self.strategy}{history} on {self.dataset}"


@cache
def history() -> pd.DataFrame:
    """All rows that may be replayed or learned from, with the features that are learned from."""
    return learned_features(past_trials(OfflineFolder(BUNDLED_OFFLINE)))


@cache
def encoder_of(space: str) -> SpaceEncoder:
    """The encoder of a space, by its name."""
    return SpaceEncoder(load_space(space))


@cache
def table(settings: Settings, dataset: str) -> ReplayTask:
    """A dataset's table."""
    return replay_task(history(), dataset, settings.model, encoder_of(settings.space))


@cache
def other_datasets(dataset: str, variant: str) -> pd.DataFrame:
    """The history that a strategy may learn from."""
    return history_without(history(), dataset, variant, MODEL_SEED)


@cache
def _history_fingerprint(dataset: str, variant: str) -> str:
    return frame_fingerprint(other_datasets(dataset, variant))


@cache
def code_version(*parts: str) -> str:
    """Hash of files or packages of `surrogates`, of all by default."""
    paths = [ROOT / "surrogates" / part for part in parts or ("",)]
    files = [file for p in paths for file in (sorted(p.rglob("*.py")) if p.is_dir() else [p])]
    return content_hash(*(file.read_bytes() for file in files), digits=12)


def version_of(strategy: str) -> str:
    """The version of the program behind a strategy: of its package, or of our code."""
    row = STRATEGIES[strategy]
    if row.package:
        return importlib.metadata.version(row.package.replace("_", "-"))
    return code_version(*BASELINE_CODE) if row.kind == "peer" else code_version()


def trace_file(settings: Settings, job: Job) -> Path:
    """The file of a job; anything but code that would change its runs changes its name."""
    strategy = STRATEGIES[job.strategy]
    learned = job.variant != NO_HISTORY
    key = _digest(
        FORMAT,
        settings.budget,
        space_text(encoder_of(settings.space).space),
        table(settings, job.dataset).fingerprint(),
        _history_fingerprint(job.dataset, job.variant) if learned else "",
        sorted((NAMES_ON_DISK.get(name, name), value) for name, value in strategy.options.items()),
        job.strategy if strategy.implementation else "",
    )
    name = f"{job.strategy.replace(' ', '-')}.{job.variant}.{job.dataset}.{key}.jsonl"
    return settings.results / "traces" / settings.model / name


def read_traces(file: Path) -> dict[int, dict[str, Any]]:
    """Seed -> the fields of `Trace` and the version of the `code`; empty without a file."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {line["seed"]: line for line in lines}


def write_traces(file: Path, traces: dict[int, dict[str, Any]]) -> None:
    """Write all seeds of a job, whole or not at all."""
    write_text(file, "".join(json.dumps(traces[s]) + "\n" for s in sorted(traces)))


def missing_seeds(settings: Settings, job: Job, seeds: Iterable[int]) -> list[int]:
    """The seeds that have no run yet."""
    finished = read_traces(trace_file(settings, job))
    return [seed for seed in seeds if seed not in finished]


def models_folder(settings: Settings, dataset: str, variant: str) -> Path:
    """Folder of the offline models; a change of the code that fits them gives another one."""
    space = space_text(encoder_of(settings.space).space)
    meta = bool(table(settings, dataset).meta)
    version = code_version(*OFFLINE_CODE)
    key = _digest(FORMAT, version, space, _history_fingerprint(dataset, variant), meta, MODEL_SEED)
    return settings.results / "models" / f"{dataset}.{variant}.{key}"


def offline_models(settings: Settings, dataset: str, variant: str) -> OfflineModels:
    """Models fitted to the other datasets, made once and kept."""
    folder = models_folder(settings, dataset, variant)
    if not folder.exists():
        models = OfflineModels.fit(
            other_datasets(dataset, variant),
            encoder_of(settings.space).space,
            MODEL_SEED,
            use_meta=bool(table(settings, dataset).meta),
        )
        with new_folder(folder) as draft:
            models.save(draft)
    return OfflineModels.load(folder)


def _digest(*parts: Any) -> str:
    return content_hash(json.dumps(parts), digits=12)
