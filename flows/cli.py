"""The ``autopipe`` command. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows import operations_cli
from flows.environment import configure
from flows.errors import friendly_errors
from flows.history_cli import app as history_app
from flows.interrupts import INTERRUPTED, interrupts, this_command
from flows.options import (
    EXAMPLE_MODEL,
    given,
    parsed_budget,
    refuse_beside_resume,
    samples_of,
    settled,
)
from flows.output import told_of_lost_output
from flows.running import run_tune, show_outcome
from flows.server import prefect_server
from flows.setting_options import (
    DEVICES,
    CheckpointEvery,
    Disk,
    EvalBatch,
    EvalRows,
    MaxCompletion,
    MaxLength,
    MicroBatch,
    SilentAfter,
    Steps,
    TestRows,
)
from flows.terminal import console, say
from tasks.config.paths import runs_folder
from tasks.output.escape import rich_markup

if TYPE_CHECKING:
    from tasks.monitoring.observers import RunObserver

app = typer.Typer(
    help="Configures LLM post-training (SFT, then RL) under a compute budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(history_app, name="history")
operations_cli.register(app)

History = Annotated[Path | None, typer.Option(help="Folder of parquet files: what past runs know.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for programs.")]


@app.command()
def tune(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Argument(help="Catalog name, folder or file; default: the example.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Catalog name, folder, .gguf or hub id.")
    ] = EXAMPLE_MODEL,
    budget: Annotated[
        str | None, typer.Option(help="25m, 12 (trials, the default) or '8 full'.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Trials at a time; default: as GPUs allow, else 2.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same proposals.")] = 0,
    space: Annotated[
        str, typer.Option(help="Name in data/spaces, or a file; auto: by the model's size.")
    ] = "auto",
    strategy: Annotated[
        str, typer.Option(help="autopipe, gp, ranker, tpe, bohb, sobol or random.")
    ] = "autopipe",
    steps: Steps = None,
    max_length: MaxLength = None,
    max_completion: MaxCompletion = None,
    eval_rows: EvalRows = None,
    eval_batch: EvalBatch = None,
    micro_batch: MicroBatch = None,
    pass_k: Annotated[int | None, typer.Option(help="Also measure pass@k of each trial.")] = None,
    pass_samples: Annotated[
        int | None, typer.Option(help="Samples a row for it; default: 8, or k if that is more.")
    ] = None,
    test_rows: TestRows = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads a trial.", rich_help_panel=DEVICES)
    ] = None,
    gpus_per_trial: Annotated[
        int | None, typer.Option(help="Default: shared out evenly.", rich_help_panel=DEVICES)
    ] = None,
    accelerate_config: Annotated[
        Path | None,
        typer.Option(help="FSDP, DeepSpeed, several nodes.", rich_help_panel=DEVICES),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=DEVICES)
    ] = "auto",
    gradient_checkpointing: Annotated[
        bool, typer.Option(help="Less memory for more time.", rich_help_panel=DEVICES)
    ] = False,
    vllm: Annotated[
        bool, typer.Option(help="Generate in RL with vLLM, if installed.", rich_help_panel=DEVICES)
    ] = False,
    silent_after: SilentAfter = None,
    checkpoint_every: CheckpointEvery = None,
    trials_on: Annotated[
        str | None,
        typer.Option(
            help="here, workers (of Prefect), dask, or a scheduler's address.",
            rich_help_panel=DEVICES,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="fsspec URL where run folders are kept, too.", rich_help_panel=DEVICES),
    ] = None,
    disk: Disk = None,
    early_stopping: Annotated[
        bool, typer.Option(help="Stop trials early by the predictor.")
    ] = True,
    use_history: Annotated[bool, typer.Option(help="Learn from past runs.")] = True,
    allow_user_code: Annotated[bool, typer.Option(help="Run 'module:function' rewards.")] = False,
    history: History = None,
    resume: Annotated[
        str | None, typer.Option(help="Id, folder or URL of a run to resume.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the best configuration for a dataset and a model under a budget."""
    with friendly_errors(as_json), shown(as_json) as observer:
        observer.phase("looking at the settings, the dataset and the model")
        interrupts.notes = [f"no trial had begun; again with: {this_command()}"]
        configure()
        from tasks.config.started import check_time

        check_time(parsed_budget(budget))  # before the imports below, which take seconds
        from flows.going_on import resume_run
        from tasks.config.settings import TuneSettings
        from tasks.execution.base import WORKERS
        from tasks.execution.devices import default_parallel
        from tasks.inputs.catalog import load_catalog
        from tasks.inputs.spaces import bundled_spaces
        from tasks.planning.preflight import check_settings

        if resume is not None:
            refuse_beside_resume(context)
            resume_run(resume, parsed_budget(budget), history, observer)
            return
        catalog = load_catalog()
        config = settled(str(accelerate_config)) if accelerate_config else None
        settings = TuneSettings(
            dataset=settled(dataset or catalog.example(), catalog.datasets),
            model=settled(model, catalog.models),
            seed=seed,
            space=settled(space, bundled_spaces()),
            strategy=strategy,
            schedule=given(
                total_steps=steps,
                max_length=max_length,
                max_completion_tokens=max_completion,
                eval_rows=eval_rows,
                eval_batch_size=eval_batch,
                micro_batch_size=micro_batch,
                pass_k=pass_k,
                pass_samples=samples_of(pass_k, pass_samples),
            ),
            compute={
                "precision": precision,
                "gradient_checkpointing": gradient_checkpointing,
                "vllm": vllm,
            },
            limits=given(silent_seconds=silent_after, checkpoint_seconds=checkpoint_every),
            early_stopping=early_stopping,
            use_history=use_history,
            allow_user_code=allow_user_code,
            **given(
                budget=parsed_budget(budget),
                parallel=default_parallel(config, gpus_per_trial) if parallel is None else parallel,
                test_rows=test_rows,
                threads=threads,
                gpus_per_trial=gpus_per_trial,
                disk_gigabytes=disk,
                trials_on=trials_on,
                store=store,
                accelerate_config=config,
            ),
        )
        check_settings(settings)
        run_tune(settings, None, history, observer, settings.trials_on == WORKERS)


@app.command()
def report(run: Annotated[str, typer.Argument(help="Id, folder or URL of a run.")]) -> None:
    """Write a run's report.html again and show its outcome; works for unfinished runs too."""
    with friendly_errors():
        configure()
        from tasks.report.build import write_report
        from tasks.search.run_storage import view_run

        folder = view_run(run, runs_folder())
        path = write_report(folder)
        show_outcome(folder, folder.summary())
        say(f"report: {path}")


@app.command()
def compare(
    run: Annotated[str, typer.Argument(help="Id, folder or URL of a run.")],
    one: Annotated[str, typer.Argument(help="Id of a trial, or its beginning: 003.")],
    other: Annotated[str, typer.Argument(help="Id of the trial to compare it with.")],
) -> None:
    """Compare two trials of a run on the same validation rows."""
    with friendly_errors():
        configure()
        from tasks.runs.paired import compare_trials
        from tasks.search.run_storage import view_run

        found = compare_trials(view_run(run, runs_folder()), one, other)
        console.print(
            f"{one} minus {other}: {found.mean:+.3f} ± {found.se:.3f} on the same {found.rows} "
            f"validation rows (paired, two-sided p = {found.p_value:.3f})",
            highlight=False,
        )


@app.command()
def collect(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Catalog names or folders; default: all but the example."),
    ] = None,
    model: Annotated[str, typer.Option(help="Catalog name, folder or hub id.")] = EXAMPLE_MODEL,
    configurations: Annotated[int, typer.Option(help="Trials for each dataset.")] = 30,
    parallel: Annotated[
        int | None, typer.Option(help="Trials at a time; default: one a GPU, else 2.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads a trial.")] = None,
    seed: Annotated[int, typer.Option(help="Of the training, and of the design.")] = 0,
    design_seed: Annotated[
        int | None, typer.Option(help="Of the design; repeat it with another --seed for noise.")
    ] = None,
    space: Annotated[str, typer.Option(help="Name in data/spaces, or a file.")] = "sft_grpo",
    steps: Steps = None,
    eval_rows: EvalRows = None,
    eval_batch: EvalBatch = None,
    name: Annotated[str, typer.Option(help="Of the run; the same name resumes it.")] = "collect",
    history: History = None,
    as_json: AsJson = False,
) -> None:
    """Run a space-filling design of full-length trials and add them to the history."""
    with friendly_errors(as_json):
        interrupts.notes = [f"resume with: {this_command()}"]
        configure()
        from flows.collect import collect as run_collect
        from flows.json_lines import JsonLines, write_event
        from flows.progress import CollectProgress
        from flows.resumable import resumable
        from tasks.config.settings import CollectSettings
        from tasks.execution.devices import default_parallel
        from tasks.inputs.catalog import load_catalog

        catalog = load_catalog()
        chosen = datasets or [key for key, entry in catalog.datasets.items() if not entry.example]
        settings = CollectSettings(
            datasets=chosen,
            model=model,
            configurations=configurations,
            parallel=default_parallel() if parallel is None else parallel,
            threads=threads,
            seed=seed,
            design_seed=design_seed,
            space=space,
            schedule=given(total_steps=steps, eval_rows=eval_rows, eval_batch_size=eval_batch),
        )
        if as_json:
            with prefect_server(), resumable(JsonLines()):
                files = run_collect(settings, name, history)
            write_event("ended", files=[str(file) for file in files])
            return
        trials = len(chosen) * configurations
        with CollectProgress(console, trials) as shown, prefect_server(), resumable(shown):
            files = run_collect(settings, name, history)
        for file in files:
            say(f"wrote {file}")


@app.command()
def reproduce(run: Annotated[str, typer.Argument(help="Id or folder of a run.")]) -> None:
    """Run a search again on the data that it read, and say whether it went the same way."""
    with friendly_errors():
        configure()
        from flows.progress import LiveProgress
        from flows.reproduce import reproduce as reproduce_flow
        from tasks.monitoring.observers import observed_by

        with LiveProgress(console) as progress, prefect_server(), observed_by(progress):
            found = reproduce_flow(run)
        for difference in found.differences:
            console.print(f"[yellow]{rich_markup(difference)}[/yellow]", highlight=False)
        verdict = "the same" if found.same else "not the same"
        console.print(
            f"{verdict}: {found.proposals} proposals and {found.scores} scores compared",
            highlight=False,
        )
        raise typer.Exit(0 if found.same else 1)


@app.command("datasets")
def list_datasets() -> None:
    """List the datasets that can be named on the command line."""
    with friendly_errors():
        from tasks.inputs.catalog import load_catalog

        table = Table("name", "rows", "answer", "reward", "description", box=None)
        for key, entry in load_catalog().datasets.items():
            told = key, entry.sizes.train, entry.answer_form, entry.reward, entry.description
            table.add_row(*map(rich_markup, told))
        console.print(table)


@contextmanager
def shown(as_json: bool) -> Iterator[RunObserver]:
    """Who shows a run: JSON lines for programs, else progress in the terminal."""
    if as_json:
        from flows.json_lines import JsonLines

        yield JsonLines()
        return
    from flows.progress import LiveProgress

    with LiveProgress(console) as progress:
        yield progress


def main() -> None:
    """The command, as it is installed."""
    interrupts.listen()
    try:
        with told_of_lost_output():
            app()
    except SystemExit as end:  # before a command had begun, typer's own exit code is another
        sys.exit(INTERRUPTED if interrupts.came else end.code)


if __name__ == "__main__":
    main()
