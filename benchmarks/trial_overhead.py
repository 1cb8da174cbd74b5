"""What a trial costs beside training: cold, and in a warm worker.

    python -m benchmarks.trial_overhead --model tiny-100k --model tiny-1m --repeats 5

Overhead is the wall clock of a trial, from handing the spec to the supervisor to having its result,
minus the time inside the training loops with their evaluations, which its events tell.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tasks.inputs.catalog import resolve_dataset, resolve_model
from trials.data.dataset import fingerprint
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.events import read_events
from trials.spec.records import Fidelity, Schedule, TrialSpec


def inside_seconds(folder: Path) -> float:
    """Seconds of a finished trial inside its training loops, evaluations included."""
    begun: dict[str, float] = {}
    total = 0.0
    for event in read_events(folder / "events.jsonl"):
        phase = event.get("phase", "")
        begun[phase] = event["seconds"]
        if phase.endswith("_trained"):
            total += event["seconds"] - begun[phase.removesuffix("_trained")]
    return total


def overhead(supervisor: Supervisor, spec: TrialSpec) -> float:
    """Overhead of one trial in seconds."""
    start = time.perf_counter()
    result = supervisor.run(spec)
    wall = time.perf_counter() - start
    if result.state != "completed":
        raise SystemExit(f"trial {spec.trial_id} {result.state}: {result.failure}")
    return wall - inside_seconds(Path(spec.folder))


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
    """Prints one row a model: median, least and greatest overhead of cold and of warm trials."""
    table = Table("model", "cold: median (least to greatest)", "warm: median (least to greatest)")
    with tempfile.TemporaryDirectory() as scratch:
        data = resolve_dataset(dataset, Path(scratch) / "datasets")
        for name in model:
            spec = TrialSpec(
                trial_id=name,
                dataset=str(data),
                dataset_fingerprint=fingerprint(data),
                config={},
                fidelity=Fidelity(model=str(resolve_model(name)), fraction=1.0),
                folder=str(Path(scratch) / name),
                schedule=Schedule(total_steps=steps, eval_rows=32),
            )
            table.add_row(name, *map(_row, measure(spec, processes, repeats)))
    Console().print(table)


def _row(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    typer.run(main)
