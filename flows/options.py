"""How options of the command line become settings, and problems of settings name options."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from tasks.config.command import OPTIONS, option_of
from tasks.config.paths import writable
from tasks.config.settings import Budget
from trials.io.errors import SettingsError
from trials.io.problems import expectation, place, shown

log = logging.getLogger(__name__)

# Models of settings that the command line fills in; what other models say is of files.
SETTINGS = ("TuneSettings", "CollectSettings")
DEFAULT_SAMPLES = 8
EXAMPLE_MODEL = "tiny-100k"  # that of commands which name none; benchmarks/examples.py says why
# The others decide what is proposed next, and a run proposes as it began to.
BESIDE_RESUME = ("resume", "budget", "history", "as_json")


def explain(error: ValidationError) -> str:
    """One line for each problem: the option, the value that was given, what was expected."""
    named = error.title in SETTINGS
    lines = []
    for problem in error.errors():
        field, message = place(problem), expectation(problem)
        if field and message.startswith(f"{field}: "):  # of a part of the settings, as a whole
            field = ""
        if not field:  # of several fields together; the message names them
            lines.append(_with_options(message) if named else message)
        else:
            name = option_of(field) if named else field
            lines.append(f"{name} {shown(problem['input'])}: {message}")
    return "\n".join(f"  - {line}" for line in lines)


def _with_options(message: str) -> str:
    for field, option in OPTIONS.items():
        if option != "--" + field.replace("_", "-"):  # a plain name may be any word
            message = message.replace(field, option)
    return re.sub(r"^\w+(?=: )", lambda field: option_of(field[0]), message)


def refuse_beside_resume(context: typer.Context) -> None:
    """Refuses options that a run which goes on could only ignore.

    Raises:
        SettingsError: naming them all.
    """
    refused = [
        max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.name
        for parameter in context.command.params
        if parameter.name not in BESIDE_RESUME and _was_given(context, parameter.name)
    ]
    if refused:
        raise SettingsError(
            f"{', '.join(map(str, refused))} beside --resume: a run resumes with the settings it "
            "was begun with, or it would propose other trials\n"
            "  expected: --resume with --budget and --history at most; for other settings start a "
            "new run"
        )


def _was_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name else None
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def samples_of(pass_k: int | None, pass_samples: int | None) -> int | None:
    """Samples a row for pass@k: never fewer than k unless asked for."""
    if pass_samples is not None or pass_k is None:
        return pass_samples
    return max(DEFAULT_SAMPLES, pass_k)


def settled(name_or_path: str, names: Collection[str] = ()) -> str:
    """What is given, so that it means the same in any folder: a run may be resumed from another.

    A name that AutoPipe knows is that name, here as everywhere; ``./NAME`` is the file or folder.
    Of anything else that exists it is the path in full, and the rest stays as it is.

    Args:
        name_or_path: as typed.
        names: that AutoPipe knows.
    """
    path = Path(name_or_path)
    if name_or_path in names:
        if path.exists():
            log.warning("%s is the one that AutoPipe brings; ./%s is the one here", path, path)
        return name_or_path
    return str(writable(path.resolve())) if path.exists() else name_or_path


def parsed_budget(text: str | None) -> Budget | None:
    """A budget, or a parameter error that names the option."""
    if text is None:
        return None
    try:
        return Budget.parse(text)
    except ValidationError as error:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise typer.BadParameter(f"{shown!r}\n{explain(error)}", param_hint="--budget") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None


def given(**options: Any) -> dict[str, Any]:
    """Only the options that were given, so that defaults stay in one home."""
    return {name: value for name, value in options.items() if value is not None}
