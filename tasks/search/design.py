"""A collect run: the design of a dataset, how its trials went, and its rows for the history."""

from __future__ import annotations

import zlib
from pathlib import Path

from surrogates.space.encoding import SpaceEncoder
from tasks.config.names import slug
from tasks.config.settings import CollectSettings
from tasks.execution.devices import memory_share
from tasks.execution.trial import result_file
from tasks.history.checks import append_checked
from tasks.history.rows import history_row
from tasks.inputs.prepare import Inputs
from tasks.inputs.spaces import load_space, plain_values
from tasks.runs.formatting import format_duration, plus_minus
from trials.io.errors import AutoPipeError
from trials.spec.records import Fidelity, TrialResult, TrialSpec, read_record


def folder_name(inputs: Inputs) -> str:
    """A dataset's id as the name of a folder."""
    return slug(inputs.dataset_id)


def design(settings: CollectSettings, inputs: Inputs, folder: Path) -> list[TrialSpec]:
    """The default configuration and a scrambled Sobol sample, another one for every dataset.

    With the same design seed the same configurations, for any model, trained with any seed; fewer
    of them are the first ones of more.
    """
    encoder = SpaceEncoder(load_space(settings.space))
    compute = settings.compute
    if compute.memory_bytes is None:
        share = memory_share(settings.parallel)
        compute = compute.model_copy(update={"memory_bytes": share})
    seed = settings.seed if settings.design_seed is None else settings.design_seed
    seed += zlib.crc32(inputs.dataset_id.encode())
    configs = [encoder.default(), *encoder.sample(settings.configurations - 1, seed)]
    return [
        TrialSpec(
            trial_id=f"{number:04d}",
            dataset=str(inputs.dataset.path),
            dataset_fingerprint=inputs.dataset.fingerprint,
            config=plain_values(config),
            fidelity=Fidelity(model=inputs.model, fraction=1.0),
            seed=settings.seed,
            folder=str(folder / f"{number:04d}"),
            model_fingerprint=inputs.model_fingerprint,
            schedule=inputs.schedule,
            stopping=settings.stopping,
            limits=settings.limits,
            compute=compute,
            keep_checkpoint=False,
        )
        for number, config in enumerate(configs)
    ]


def summary_row(inputs: Inputs, results: list[TrialResult]) -> dict[str, str]:
    """A row on a dataset's trials, of which the first has the default configuration."""
    scores = [result.score for result in results if result.score is not None]
    return {
        "dataset": inputs.dataset_id,
        "trials": str(len(results)),
        "failed": str(sum(result.failure is not None for result in results)),
        "default": plus_minus(results[0].score, results[0].score_se),
        "best": plus_minus(max(scores, default=None), None),
        "time": format_duration(sum(result.cost.seconds for result in results)),
    }


def append_dataset(
    inputs: Inputs, specs: list[TrialSpec], run_id: str, history: Path
) -> Path | None:
    """Writes the trials of one dataset that pass the checks to a history file; None without any.

    Raises:
        AutoPipeError: when a trial has no result, for the disk was full or it was removed.
    """
    missing = [spec.folder for spec in specs if not result_file(spec).exists()]
    if missing:
        raise AutoPipeError(
            f"no result.json in {', '.join(missing)}: it could not be written, or was removed\n"
            "  Look for a full disk, then repeat the command: only these trials are run again"
        )
    rows = [
        history_row(
            spec,
            read_record(result_file(spec), TrialResult),
            run_id=run_id,
            dataset_id=inputs.dataset_id,
            model_id=inputs.model_id,
            meta=inputs.meta,
        )
        for spec in specs
    ]
    file, _ = append_checked(rows, history, f"{run_id}--{folder_name(inputs)}", one_run=True)
    return file
