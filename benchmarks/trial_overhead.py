"""Overhead of a trial beside training: cold, and in a warm worker.

    python -m benchmarks.trial_overhead --model tiny-100k --model tiny-1m --repeats 5

Overhead is the wall clock of a trial, from handing the spec to the supervisor to having its result,
minus the time inside the training loops with their evaluations, as its events say.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tasks.inputs.catalog import resolve_dataset, resolve_model
from trials.data.dataset import fingerprint
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.events import read_events
from trials.spec.kinds import TrialState
from trials.spec.records import Fidelity, Schedule, TrialSpec


def trial_spec(
    name: str, dataset: Path, model: Path, folder: Path, schedule: Schedule, **config: Any
) -> TrialSpec:
    """A full-length trial in a folder."""
    return TrialSpec(
        trial_id=name,
        dataset=str(dataset),
        dataset_fingerprint=fingerprint(dataset),
        config=config,
        fidelity=Fidelity(model=str(model), fraction=1.0),
        folder=str(folder),
        schedule=schedule,
    )


def loop_seconds(folder: Path, evaluations: bool = True) -> dict[str, float]:
    """Seconds of a finished trial inside its training loops, by stage, with evaluations or not."""
    begun: dict[str, float] = {}
    seconds: Counter[str] = Counter()
    for event in read_events(folder / "events.jsonl"):
        phase = event.get("phase", "")
        begun[phase] = event["seconds"]
        if phase.endswith("_trained"):
            stage = phase.removesuffix("_trained")
            seconds[stage] += event["seconds"] - begun[stage]
        if event["kind"] == "score" and not evaluations:
            seconds[event["stage"]] -= event["took"]
    return dict(seconds)


def overhead(supervisor: Supervisor, spec: TrialSpec) -> float:
    """Overhead of one trial in seconds."""
    start = time.perf_counter()
    result = supervisor.run(spec)
    wall = time.perf_counter() - start
    if result.state != TrialState.COMPLETED:
        raise SystemExit(f"trial {spec.trial_id} {result.state}: {result.failure}")
    return wall - sum(loop_seconds(Path(spec.folder)).values())


def measure(spec: TrialSpec, processes: int, repeats: int) -> tuple[list[float], list[float]]:
    """Overheads of cold and of warm trials; the first trial of the warm worker is not counted."""
    root = Path(spec.folder)

    def run(name: str, trials_per_worker: int, count: int) -> list[float]:
        launcher = Launcher(processes=processes)
        with Supervisor(launcher, trials_per_worker=trials_per_worker) as supervisor:
            return [
                overhead(
                    supervisor,
                    spec.model_copy(update={"folder": str(root / f"{name}{n}"), "trial_id": name}),
                )
                for n in track(range(count), description=f"{name} ({root.name})")
            ]

    return run("cold", 1, repeats), run("warm", 1000, repeats + 1)[1:]


def main(
    model: Annotated[list[str], typer.Option(help="Names in the catalog.")] = ["tiny-100k"],  # noqa: B006
    dataset: Annotated[str, typer.Option(help="Name in the catalog.")] = "gcd",
    steps: Annotated[int, typer.Option(help="Optimizer steps of a trial.")] = 20,
    processes: Annotated[int, typer.Option(help="Processes of a trial.")] = 1,
    repeats: Annotated[int, typer.Option(help="Trials of each kind.")] = 5,
) -> None:
    """Print one row per model: median, least and greatest overhead of cold and of warm trials."""
    table = Table("model", "cold: median (least to greatest)", "warm: median (least to greatest)")
    with tempfile.TemporaryDirectory() as scratch:
        data = resolve_dataset(dataset, Path(scratch) / "datasets")
        for name in model:
            model_folder, folder = resolve_model(name), Path(scratch) / name
            schedule = Schedule(total_steps=steps, eval_rows=32)
            spec = trial_spec(name, data, model_folder, folder, schedule)
            table.add_row(name, *map(_row, measure(spec, processes, repeats)))
    Console().print(table)


def _row(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    typer.run(main)
