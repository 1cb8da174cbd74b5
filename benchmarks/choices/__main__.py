"""What single choices of a configuration are worth: trials that differ in them alone.

    python -m benchmarks.choices run --group schedules     # trains what has no outcome yet
    python -m benchmarks.choices show --group schedules    # gains over the usual choice, paired

Trials are real ones, of the configurations that did best on a dataset in the bundled history. All
variants of a group run for as many steps; what they cost beyond that is in the table.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every worker has one core, whatever libraries take

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from flows.server.environment import configure

configure()

import typer  # noqa: E402
from rich.table import Table  # noqa: E402
from typer import Option  # noqa: E402

from benchmarks.choices.variants import GROUPS  # noqa: E402
from benchmarks.options import selected, with_options  # noqa: E402
from flows.cli.errors import friendly_errors  # noqa: E402
from flows.terminal.console import for_tables, say  # noqa: E402
from trials.io.errors import SettingsError  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.choices.trials import Job

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = for_tables()
DATASETS = "chain_sum,chain_sum_two_digits,decimal_sum,number_filtering"


@dataclass(frozen=True)
class Selection:
    """Options of both commands: which trials there are."""

    group: Annotated[str, Option(help=f"One of {', '.join(GROUPS)}.")] = "schedules"
    variants: Annotated[str, Option(help="Names, with semicolons between; all by default.")] = ""
    datasets: Annotated[str, Option(help="Names in the history, with commas between.")] = DATASETS
    model: Annotated[str, Option(help="That is trained.")] = "tiny-1m"
    configurations: Annotated[int, Option(help="The best ones of each dataset.", min=1)] = 2
    seeds: Annotated[int, Option(help="Trials of each.", min=1)] = 2
    results: Annotated[Path | None, Option(help="Folder of the outcomes.")] = None

    @property
    def folder(self) -> Path:
        """Where outcomes are kept."""
        from benchmarks.choices.trials import RESULTS

        return self.results or RESULTS

    @property
    def jobs(self) -> list[Job]:
        """All trials, seed by seed, so that pairs are whole early."""
        from benchmarks.choices.trials import Job

        [group] = selected(self.group, GROUPS, "group")
        known = GROUPS[group].variants
        names = [name.strip() for name in self.variants.split(";") if name.strip()] or [*known]
        if unknown := [name for name in names if name not in known]:
            raise SettingsError(f"--variants: no {unknown[0]!r} in {group}: {'; '.join(known)}")
        names = list(dict.fromkeys([GROUPS[group].usual, *names]))
        datasets = [name.strip() for name in self.datasets.split(",")]
        return [
            Job(group, name, dataset, self.model, place, seed)
            for seed in range(self.seeds)
            for place in range(self.configurations)
            for dataset in datasets
            for name in names
        ]


@app.command()
@with_options(Selection)
def run(
    selection: Selection, workers: Annotated[int, Option(help="Processes.", min=1)] = 1
) -> None:
    """Train what has no outcome yet."""
    from benchmarks.choices.trials import missing, run_job
    from benchmarks.replay.run import in_processes

    with friendly_errors():
        left = missing(selection.folder, selection.jobs)
        calls = {str(job): (run_job, selection.folder, job) for job in left}
        failed = in_processes(workers, console, ("trials", calls, len(calls)))
        for name, why in failed.items():
            say(f"{name}: {why}")
        if failed:
            raise SettingsError(f"{len(failed)} of {len(calls)} trials failed; see above")
        say(f"table: python -m benchmarks.choices show --group {selection.group}")


@app.command()
@with_options(Selection)
def show(selection: Selection) -> None:
    """Gains over the usual choice with their 95 % intervals, and what they cost."""
    from benchmarks.choices.table import rows_of

    with friendly_errors():
        group, folder = GROUPS[selection.group], selection.folder
        jobs = [job for job in selection.jobs if job.file(folder).exists()]
        if absent := len(selection.jobs) - len(jobs):
            say(f"{absent} of {len(selection.jobs)} trials are missing: rows may be of fewer pairs")
        columns = ("score", "gain", "datasets", "pairs", "FLOPs", "flat groups")
        table = Table(
            "variant", title=f"{selection.group}: over {group.usual}, {group.steps} steps"
        )
        for column in columns:
            table.add_column(column, justify="right")
        table.add_column("its paper says")
        for row in rows_of(selection.group, jobs, folder):
            table.add_row(
                row.variant, f"{row.score:.3f}", f"{row.gain:+.3f} ± {row.error:.3f}",
                str(row.datasets), str(row.pairs), f"{row.cost:.2f}",
                "" if row.flat != row.flat else f"{row.flat:.2f}",
                group.variants[row.variant].claim,
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    app()
