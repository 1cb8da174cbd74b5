"""Playing: which runs there are to be, spread over processes, with a bar that says what is left."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.replay import store
from benchmarks.replay.play import play
from benchmarks.replay.store import Job, Settings
from benchmarks.replay.strategies import NO_PAST, STRATEGIES, make_player
from surrogates.core.base import SurrogateError
from trials.io.errors import AutoPipeError

PEERS_MISSING = "left out: not installed (pip install 'autopipe[peers]')"


@dataclass(frozen=True)
class Plan:
    """What is to be there."""

    jobs: tuple[Job, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    """Strategies whose package is not installed."""


def plan_of(
    strategies: Sequence[str], variants: Sequence[str], datasets: Sequence[str], seeds: int
) -> Plan:
    """Every chosen strategy with those of the chosen histories that it is played with."""
    left_out = tuple(name for name in strategies if STRATEGIES[name].missing)
    jobs = [
        Job(name, variant, dataset)
        for dataset in datasets
        for name in strategies
        if name not in left_out
        for variant in STRATEGIES[name].variants
        if variant == NO_PAST or variant in variants
    ]
    return Plan(tuple(jobs), tuple(range(seeds)), left_out)


def play_job(settings: Settings, job: Job, seeds: Sequence[int]) -> int:
    """Play seeds of a job one after the other; each is kept as soon as it is over.

    Returns:
        How many were played.
    """
    strategy = STRATEGIES[job.strategy]
    task, encoder = store.table(settings, job.dataset), store.encoder_of(settings.space)
    budget = settings.budget * task.mean_cost
    past = offline = None
    if strategy.learns_offline:
        offline = store.offline_models(settings, job.dataset, job.variant)
    elif job.variant != NO_PAST:
        past = store.past(job.dataset, job.variant)
    file, made_by = store.trace_file(settings, job), store.played_by(job.strategy)
    traces = store.read_traces(file)
    for seed in seeds:
        player = make_player(strategy, task, encoder, budget, seed, past, offline)
        traces[seed] = play(task, player, budget, seed).to_dict() | {"code": made_by}
        store.write_traces(file, traces)
    return len(seeds)


def fit_models(settings: Settings, dataset: str, variant: str) -> int:
    """Make the offline models that runs will load."""
    store.offline_models(settings, dataset, variant)
    return 1


def run(
    settings: Settings, plan: Plan, workers: int, console: Console, again: bool = False
) -> dict[str, str]:
    """Play what was not played yet.

    Args:
        settings: of all runs.
        plan: what is to be there.
        workers: processes.
        console: where progress is shown.
        again: whether to play what is there once more.

    Returns:
        What failed -> why; everything else was played.
    """
    left = {
        job: list(plan.seeds) if again else store.missing_seeds(settings, job, plan.seeds)
        for job in plan.jobs
    }
    left = {job: seeds for job, seeds in left.items() if seeds}
    pasts = {(j.dataset, j.variant) for j in left if STRATEGIES[j.strategy].learns_offline}
    to_fit = [p for p in sorted(pasts) if not store.models_folder(settings, *p).exists()]
    fits = {f"fitting the past of {d} ({v})": (fit_models, settings, d, v) for d, v in to_fit}
    plays = {str(job): (play_job, settings, job, seeds) for job, seeds in left.items()}
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        with _bar(console) as bar:
            failed = _all(pool, workers, bar, "models", fits, len(fits))
            total = sum(map(len, left.values()))
            return failed | _all(pool, workers, bar, "runs", plays, total)
    finally:  # when interrupted, what waits is not begun
        pool.shutdown(cancel_futures=True)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def _all(
    pool: ProcessPoolExecutor,
    workers: int,
    bar: Progress,
    title: str,
    calls: dict[str, tuple[Callable[..., int], *tuple[Any, ...]]],
    total: int,
) -> dict[str, str]:
    """Run all calls, each under its name; returns what failed, and why."""
    if not calls:
        return {}
    line = bar.add_task(title, total=total, note="")
    names: dict[Future[int], str] = {
        pool.submit(call, *arguments): name for name, (call, *arguments) in calls.items()
    }
    waiting, failed = set(names), dict[str, str]()
    while waiting:
        done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is None:
                bar.advance(line, future.result())
            else:
                failed[names[future]] = _why(error)
        running = [names[future] for future in waiting if future.running()]
        bar.update(line, note="; ".join(running[:workers]))
    return failed


def _why(error: BaseException) -> str:
    if isinstance(error, SurrogateError | AutoPipeError):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()
