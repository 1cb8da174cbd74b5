"""Options of the command line that set a field each, with that field's default in their help."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tasks.config.settings import TuneSettings

DEVICES = "Devices and limits"  # a panel of the help


def with_default(text: str, field: str) -> str:
    """The help of an option, with the default of the field that it sets, as ``compute.vllm``.

    Where there is none the field's own description says what that means.
    """
    group, _, name = field.rpartition(".")
    settings = TuneSettings.model_fields
    found = (type(settings[group].default).model_fields if group else settings)[name]
    default = found.default
    if default is None:
        _, _, default = (found.description or "").partition("None: ")
    elif isinstance(default, float):
        default = f"{default:g}"
    return f"{text}; default: {str(default).rstrip('.')}." if default else f"{text}."


def _option(text: str, field: str, panel: str | None = None) -> Any:
    return typer.Option(help=with_default(text, field), rich_help_panel=panel)


Steps = Annotated[int | None, _option("Steps of the full schedule", "schedule.total_steps")]
MaxLength = Annotated[int | None, _option("Tokens of prompt + completion", "schedule.max_length")]
MaxCompletion = Annotated[int | None, _option("Tokens generated", "schedule.max_completion_tokens")]
EvalRows = Annotated[int | None, _option("Validation rows", "schedule.eval_rows")]
EvalBatch = Annotated[int | None, _option("Rows generated at once", "schedule.eval_batch_size")]
MicroBatch = Annotated[
    int | None, _option("Largest batch on a device", "schedule.micro_batch_size")
]
TestRows = Annotated[int | None, _option("Test rows at the end", "test_rows")]
SilentAfter = Annotated[
    int | None,
    _option(
        "Seconds without a sign of life after which a trial is ended",
        "limits.silent_seconds",
        DEVICES,
    ),
]
CheckpointEvery = Annotated[
    int | None,
    _option(
        "Seconds between checkpoints, from which a killed trial goes on",
        "limits.checkpoint_seconds",
        DEVICES,
    ),
]
Disk = Annotated[
    float | None,
    _option("Gigabytes that the run's checkpoints may take", "disk_gigabytes", DEVICES),
]
