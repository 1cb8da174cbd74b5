"""The runs of the benchmark, spread over processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.levels import store
from benchmarks.levels.arms import ARMS
from benchmarks.levels.play import play
from benchmarks.levels.store import Job
from benchmarks.replay.run import Calls, in_processes


def run_seed(results: Path, job: Job, seed: int) -> int:
    """Play one seed of a job and save it; returns 1, the number of runs."""
    arm = ARMS[job.arm]
    offline = store.offline_models(job.dataset) if arm.history else None
    family = store.family(job.dataset, arm.variant).drawn(job.candidates, seed)
    found = play(family, store.encoder(), arm, job.budget, seed, offline)
    runs = store.read_runs(results, job)
    store.write_runs(results, job, runs | {seed: replace(found, code=store.code_version(job.arm))})
    return 1


def run_job(results: Path, job: Job, seeds: Sequence[int]) -> int:
    """Play seeds of a job, one after the other; each is saved as soon as it ends."""
    return sum(run_seed(results, job, seed) for seed in seeds)


def fit_models(dataset: str) -> int:
    """Make the offline models that runs will load."""
    store.offline_models(dataset)
    return 1


def run(
    results: Path, jobs: Sequence[Job], seeds: Sequence[int], workers: int, console: Console
) -> dict[str, str]:
    """Play what has no run of the present code yet, in so many processes.

    Returns:
        Names of the failed calls with the reason of each; all others succeeded.
    """
    left = {job: store.missing_seeds(results, job, seeds) for job in jobs}
    left = {job: missing for job, missing in left.items() if missing}
    learned = sorted({job.dataset for job in left if ARMS[job.arm].history})
    fits: Calls = {f"fitting without {each}": (fit_models, each) for each in learned}
    calls: Calls = {str(job): (run_job, results, job, missing) for job, missing in left.items()}
    total = sum(map(len, left.values()))
    return in_processes(workers, console, ("models", fits, len(fits)), ("runs", calls, total))
