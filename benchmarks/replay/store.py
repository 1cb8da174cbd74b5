"""Where results lie, so that what was played is not played again, and no two runs are mixed up."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.replay.past import frame_fingerprint, past_of
from benchmarks.replay.play import Trace
from benchmarks.replay.strategies import NO_PAST, STRATEGIES
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
# What the offline models are made by; other modules use them.
FITTING = (
    "axes", "blend", "boosting", "calibration", "cost", "early", "early_skill", "encoding",
    "features", "history", "metrics", "offline", "outcomes", "past_kernel", "past_tables",
    "past_tasks", "prefixes", "ranker",
)  # fmt: skip
BASELINE_CODE = ("space/axes", "space/candidates", "space/encoding", "online/optuna_strategies")
PAST_SEED = 0  # of the shuffled history and of the offline models, the same ones for every run


@dataclass(frozen=True)
class Settings:
    """What all runs of a benchmark have in common."""

    model: str = "tiny-1m"
    space: str = "sft_grpo"
    budget: float = 20.0
    """In mean costs of a full-length trial of the dataset."""
    results: Path = RESULTS


@dataclass(frozen=True)
class Job:
    """All seeds of one strategy with one history on one dataset."""

    strategy: str
    variant: str
    dataset: str

    def __str__(self) -> str:
        history = "" if self.variant in (NO_PAST, "true") else f" ({self.variant} history)"
        return f"{self.strategy}{history} on {self.dataset}"


@cache
def history() -> pd.DataFrame:
    """All rows that may be replayed or learned from, with the features that are learned from."""
    return learned_features(past_trials(OfflineFolder(BUNDLED_OFFLINE)))


@cache
def encoder_of(space: str) -> SpaceEncoder:
    """The encoder of a space by its name."""
    return SpaceEncoder(load_space(space))


@cache
def table(settings: Settings, dataset: str) -> ReplayTask:
    """A dataset's table."""
    return replay_task(history(), dataset, settings.model, encoder_of(settings.space))


@cache
def past(dataset: str, variant: str) -> pd.DataFrame:
    """What a strategy may learn from."""
    return past_of(history(), dataset, variant, PAST_SEED)


@cache
def _past_fingerprint(dataset: str, variant: str) -> str:
    return frame_fingerprint(past(dataset, variant))


@cache
def code(*modules: str) -> str:
    """Hash of modules of the search, of all by default, to tell results of another state of it."""
    folder = ROOT / "surrogates"
    files = [folder / f"{name}.py" for name in modules] or sorted(folder.rglob("*.py"))
    return content_hash(*(file.read_bytes() for file in files), digits=12)


def played_by(strategy: str) -> str:
    """What tells runs of another state of the program that makes a strategy's moves."""
    row = STRATEGIES[strategy]
    if row.peer:
        return importlib.metadata.version(row.package.replace("_", "-"))
    return code(*BASELINE_CODE) if row.kind == "peer" else code()


def trace_file(settings: Settings, job: Job) -> Path:
    """The file of a job; anything that would change its runs, but for code, changes its name."""
    strategy = STRATEGIES[job.strategy]
    learned = job.variant != NO_PAST
    key = _digest(
        FORMAT,
        settings.budget,
        space_text(encoder_of(settings.space).space),
        table(settings, job.dataset).fingerprint(),
        _past_fingerprint(job.dataset, job.variant) if learned else "",
        sorted(strategy.options.items()),
        strategy.peer,
    )
    name = f"{job.strategy.replace(' ', '-')}.{job.variant}.{job.dataset}.{key}.jsonl"
    return settings.results / "traces" / settings.model / name


def read_traces(file: Path) -> dict[int, dict[str, Any]]:
    """Seed -> what `Trace.to_dict` and `code` said; empty where nothing was played."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {line["seed"]: line for line in lines}


def write_traces(file: Path, traces: dict[int, dict[str, Any]]) -> None:
    """Write all seeds of a job, whole or not at all."""
    write_text(file, "".join(json.dumps(traces[s]) + "\n" for s in sorted(traces)))


def as_trace(line: dict[str, Any]) -> Trace:
    """Inverse of `Trace.to_dict`."""
    return Trace(**{name: value for name, value in line.items() if name != "code"})


def missing_seeds(settings: Settings, job: Job, seeds: Iterable[int]) -> list[int]:
    """The seeds that were not played yet."""
    played = read_traces(trace_file(settings, job))
    return [seed for seed in seeds if seed not in played]


def models_folder(settings: Settings, dataset: str, variant: str) -> Path:
    """Where the offline models of a past lie; other code that fits them gives another folder."""
    space = space_text(encoder_of(settings.space).space)
    meta = bool(table(settings, dataset).meta)
    made_by = code(*FITTING)
    key = _digest(FORMAT, made_by, space, _past_fingerprint(dataset, variant), meta, PAST_SEED)
    return settings.results / "models" / f"{dataset}.{variant}.{key}"


def offline_models(settings: Settings, dataset: str, variant: str) -> OfflineModels:
    """Models fitted to the past of a dataset, made once and kept."""
    folder = models_folder(settings, dataset, variant)
    if not folder.exists():
        models = OfflineModels.fit(
            past(dataset, variant),
            encoder_of(settings.space).space,
            PAST_SEED,
            use_meta=bool(table(settings, dataset).meta),
        )
        with new_folder(folder) as draft:
            models.save(draft)
    return OfflineModels.load(folder)


def _digest(*parts: Any) -> str:
    return content_hash(json.dumps(parts), digits=12)
