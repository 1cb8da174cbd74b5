"""The runs of a benchmark, spread over processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from benchmarks.replay import store
from benchmarks.replay.loop import Problem, replay
from benchmarks.replay.store import Job, Settings
from benchmarks.replay.strategies import NO_HISTORY, STRATEGIES
from tasks.output.log_filters import is_for_people

Calls = dict[str, tuple[Callable[..., int], *tuple[Any, ...]]]


@dataclass(frozen=True)
class Plan:
    """The runs that a benchmark consists of."""

    jobs: tuple[Job, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]  # strategies whose package is not installed

    @classmethod
    def of(
        cls, strategies: Sequence[str], variants: Sequence[str], datasets: Sequence[str], seeds: int
    ) -> Plan:
        """Every strategy with those of the histories that it is run with."""
        left_out = tuple(name for name in strategies if STRATEGIES[name].missing)
        jobs = [
            Job(name, variant, dataset)
            for dataset in datasets
            for name in strategies
            if name not in left_out
            for variant in STRATEGIES[name].variants
            if variant == NO_HISTORY or variant in variants
        ]
        return cls(tuple(jobs), tuple(range(seeds)), left_out)


def run_job(settings: Settings, job: Job, seeds: Sequence[int]) -> int:
    """Run seeds of a job one after the other; each is saved as soon as it ends.

    Returns:
        Their number.
    """
    strategy = STRATEGIES[job.strategy]
    task, encoder = store.table(settings, job.dataset), store.encoder_of(settings.space)
    budget = settings.budget * task.mean_cost
    history = offline = None
    if strategy.learns_offline:
        offline = store.offline_models(settings, job.dataset, job.variant)
    elif job.variant != NO_HISTORY:
        history = store.other_datasets(job.dataset, job.variant)
    file, version = store.trace_file(settings, job), store.version_of(job.strategy)
    traces = store.read_traces(file)
    for seed in seeds:
        optimizer = strategy.make(Problem(task, encoder, budget, seed, history, offline))
        traces[seed] = asdict(replay(task, optimizer, budget, seed)) | {"code": version}
        store.write_traces(file, traces)
    return len(seeds)


def fit_models(settings: Settings, dataset: str, variant: str) -> int:
    """Make the offline models that runs will load."""
    store.offline_models(settings, dataset, variant)
    return 1


def run(
    settings: Settings, plan: Plan, workers: int, console: Console, again: bool = False
) -> dict[str, str]:
    """Run what has no result yet, or all `again`, in so many processes.

    Returns:
        Names of the failed calls with the reason of each; all others succeeded.
    """
    left = {
        job: list(plan.seeds) if again else store.missing_seeds(settings, job, plan.seeds)
        for job in plan.jobs
    }
    left = {job: seeds for job, seeds in left.items() if seeds}
    pairs = {(j.dataset, j.variant) for j in left if STRATEGIES[j.strategy].learns_offline}
    to_fit = [p for p in sorted(pairs) if not store.models_folder(settings, *p).exists()]
    fits: Calls = {f"fitting without {d} ({v})": (fit_models, settings, d, v) for d, v in to_fit}
    jobs: Calls = {str(job): (run_job, settings, job, seeds) for job, seeds in left.items()}
    total = sum(map(len, left.values()))
    return in_processes(workers, console, ("models", fits, len(fits)), ("runs", jobs, total))


def in_processes(workers: int, console: Console, *stages: tuple[str, Calls, int]) -> dict[str, str]:
    """Stages of calls, one stage after the other, in so many processes and with a progress bar.

    A stage has a title, its calls by name, each of which returns how much of the total it has done,
    and the total.

    Returns:
        Names of the failed calls with the reason of each; all others succeeded.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    failed = dict[str, str]()
    try:
        with Progress(*columns, console=console) as bar:
            for title, calls, total in stages:
                failed |= _run_all(pool, workers, bar, title, calls, total)
    finally:  # when interrupted, waiting calls are not begun
        pool.shutdown(cancel_futures=True)
    return failed


def _run_all(
    pool: ProcessPoolExecutor, workers: int, bar: Progress, title: str, calls: Calls, total: int
) -> dict[str, str]:
    if not calls:
        return {}
    line = bar.add_task(title, total=total, note="")
    names = {pool.submit(call, *arguments): name for name, (call, *arguments) in calls.items()}
    waiting, failed = set(names), dict[str, str]()
    while waiting:
        done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is None:
                bar.advance(line, future.result())
            elif is_for_people(error):
                failed[names[future]] = str(error)
            else:
                failed[names[future]] = "".join(traceback.format_exception(error)).strip()
        running = [names[future] for future in waiting if future.running()]
        bar.update(line, note="; ".join(running[:workers]))
    return failed
