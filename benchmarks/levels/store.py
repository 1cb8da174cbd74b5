"""Runs on disk: finished ones are not repeated, and no two settings share a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from benchmarks.levels.arms import ARMS
from benchmarks.levels.family import MODELS, Family, family_of
from benchmarks.levels.play import Run
from benchmarks.replay import store as replay_store
from surrogates.history.table import read_history
from surrogates.offline.agreement import agreements
from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder
from tasks.config.paths import ROOT
from tasks.inputs.spaces import space_text
from trials.io.atomic import write_text
from trials.io.hashing import content_hash

RESULTS = ROOT / "benchmarks" / "results" / "levels"
SPACE = "sft_grpo"
FORMAT = 2
CANDIDATES = 28  # of the 40 that there are
SEARCH_CODE = ("core", "space", "gp", "online")  # packages that decide what is proposed


@dataclass(frozen=True)
class Job:
    """All seeds of one arm on one dataset, with one budget in mean trials of the target."""

    arm: str
    dataset: str
    budget: float
    candidates: int = CANDIDATES
    """Drawn anew for each seed."""

    def __str__(self) -> str:
        return f"{self.arm} on {self.dataset}, budget {self.budget:g}"


def encoder() -> SpaceEncoder:
    """Of the space that the history was collected in."""
    return replay_store.encoder_of(SPACE)


@cache
def family(dataset: str, variant: str) -> Family:
    """The trials of one dataset."""
    return family_of(replay_store.history(), dataset, encoder(), variant)  # type: ignore[arg-type]


@cache
def offline_models(dataset: str) -> OfflineModels:
    """Models fitted to the other datasets, with how far the models of a family agreed there."""
    settings = replay_store.Settings(model=MODELS[-1], space=SPACE)
    models = replay_store.offline_models(settings, dataset, "true")
    others = read_history(replay_store.other_datasets(dataset, "true"), encoder())
    pairs = [(model, MODELS[-1]) for model in MODELS[:-1]]
    return replace(models, agreements=agreements(others, encoder(), pairs) if others else {})


@cache
def code_version(arm: str) -> str:
    """Of the program behind the runs of an arm: what learns from a history only where it does."""
    return replay_store.code_version(*(() if ARMS[arm].history else SEARCH_CODE))


def run_file(results: Path, job: Job) -> Path:
    """The file of a job; what would change its runs, but for code, changes its name."""
    arm = ARMS[job.arm]
    tables = family(job.dataset, arm.variant).tables
    key = content_hash(
        json.dumps(
            [
                FORMAT,
                job.candidates,
                job.budget,
                space_text(encoder().space),
                [table.fingerprint() for table in tables.values()],
                asdict(arm),
            ],
            default=list,
            sort_keys=True,
        ),
        digits=12,
    )
    name = job.arm.replace(" ", "-")
    return results / f"{name}.{job.budget:g}.{job.dataset}.{key}.jsonl"


def read_runs(results: Path, job: Job) -> dict[int, Run]:
    """Seed -> run; empty where there is none yet."""
    file = run_file(results, job)
    if not file.exists():
        return {}
    runs = [Run(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    return {run.seed: run for run in runs}


def write_runs(results: Path, job: Job, runs: dict[int, Run]) -> None:
    """All seeds of a job, whole or not at all."""
    lines = (json.dumps(asdict(runs[seed])) + "\n" for seed in sorted(runs))
    write_text(run_file(results, job), "".join(lines))


def missing_seeds(results: Path, job: Job, seeds: Iterable[int]) -> list[int]:
    """The seeds without a run of the present code."""
    known = read_runs(results, job)
    version = code_version(job.arm)
    return [seed for seed in seeds if seed not in known or known[seed].code != version]
