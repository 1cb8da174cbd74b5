"""Options of the command line, made from the settings; problems of settings name options."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer
from pydantic import BaseModel, ValidationError

from tasks.config.command import option_of
from tasks.config.options import Setting, flags_of, table_of
from tasks.config.paths import writable
from tasks.config.settings import Budget, CollectSettings, TuneSettings
from trials.io.errors import SettingsError
from trials.io.problems import expectation, place, shown

log = logging.getLogger(__name__)

# Models of settings that the command line fills in; what other models say is of files.
SETTINGS = {model.__name__: model for model in (TuneSettings, CollectSettings)}
DEFAULT_SAMPLES = 8
# The others decide what is proposed next, and a run proposes as it began to.
BESIDE_RESUME = ("resume", "budget", "history", "as_json")

Command = Callable[..., None]
History = Annotated[Path | None, typer.Option(help="Folder of parquet files with past trials.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for programs.")]
Run = Annotated[str, typer.Argument(help="Id, folder or URL of a run.")]


def setting_options(model: type[BaseModel]) -> Callable[[Command], Command]:
    """Gives a command an option for each setting of a model that has one.

    The options take the place of the command's parameter ``given``, which gets their values as the
    model takes them, as ``{"seed": 1, "schedule": {"total_steps": 20}}``. Values are checked by
    the model, which names all problems at once, and not by Typer.
    """
    rows = {str(row.flag)[2:].replace("-", "_"): row for row in table_of(model) if row.flag}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            given: dict[str, Any] = {}
            for name, row in rows.items():
                if (value := values.pop(name)) not in (None, []):
                    group, _, field = row.path.rpartition(".")
                    (given.setdefault(group, {}) if group else given)[field] = value
            schedule = given.get("schedule", {})
            if "pass_k" in schedule:  # its estimate needs k samples at least
                schedule.setdefault("pass_samples", max(DEFAULT_SAMPLES, schedule["pass_k"]))
            command(given=given, **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            made = [_parameter(name, row) for name, row in rows.items()]
            parameters += made if parameter.name == "given" else [own]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameter(name: str, row: Setting) -> inspect.Parameter:
    """The parameter of a command that sets a setting, as Typer reads it."""
    assert row.option is not None
    default = row.option.default if row.required else row.default
    in_words = row.option.computed_default
    if isinstance(default, Budget):  # told apart from one that was given when a run is resumed
        in_words = str(default)
    if isinstance(default, float) and default.is_integer():
        default = int(default)  # 600, not 600.0
    option = typer.Option(
        help=_help(row), rich_help_panel=row.option.panel, show_default=in_words or True
    )
    several = get_origin(row.type) is tuple
    plain = row.type if row.type in (int, float, bool) else list[str] if several else str
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if in_words or several else default,
        annotation=Annotated[plain | None, option],
    )


def _help(row: Setting) -> str:
    text = row.meaning
    if row.choices:
        text = f"{text} One of {', '.join(row.choices)}."
    least = row.bound("ge")
    return f"{text} At least {least:g}." if least is not None and least > 1 else text


def tune_settings(dataset: str | None, given: Mapping[str, Any]) -> TuneSettings:
    """The settings of a run that begins, of what `setting_options` hands over."""
    from tasks.execution.devices import default_parallel
    from tasks.inputs.catalog import load_catalog
    from tasks.inputs.spaces import bundled_spaces

    catalog = load_catalog()
    given = dict(given)
    if config := given.pop("accelerate_config", None):
        given["accelerate_config"] = settled(config)
    if (budget := parsed_budget(given.pop("budget", None))) is not None:
        given["budget"] = budget
    if "parallel" not in given:
        given["parallel"] = default_parallel(config, given.get("gpus_per_trial"))
    return TuneSettings(
        dataset=settled(dataset or catalog.example(), catalog.datasets),
        model=settled(given.pop("model"), catalog.models),
        proxies=[settled(each, ("auto", *catalog.models)) for each in given.pop("proxies", ())],
        space=settled(given.pop("space"), bundled_spaces()),
        **given,
    )


def explain(error: ValidationError) -> str:
    """Describes each problem in a line: the option, the value given, what was expected."""
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
    for field, option in flags_of(TuneSettings).items():
        if option != "--" + field.replace("_", "-"):  # a plain name may be any word
            message = message.replace(field, option)
    return re.sub(r"^\w+(?=: )", lambda field: option_of(field[0]), message)


def refuse_beside_resume(context: typer.Context) -> None:
    """Refuses options that a resumed run could only ignore, with a SettingsError on all of them."""
    refused = [
        max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.name
        for parameter in context.command.params
        if parameter.name not in BESIDE_RESUME and _was_given(context, parameter.name)
    ]
    if refused:
        raise SettingsError(
            f"{', '.join(map(str, refused))} beside --resume: a run is resumed with the "
            "settings that it began with, or it would propose other trials\n"
            "  expected: --resume with --budget and --history at most; for other settings start a "
            "new run"
        )


def _was_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name else None
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def settled(name_or_path: str, names: Collection[str] = ()) -> str:
    """A name or path that means the same in any folder: a run may be resumed from another.

    One of the names that AutoPipe knows stays that name; ``./NAME`` is the file or folder. Of
    anything else that exists it is the path in full, and the rest stays as it is.
    """
    path = Path(name_or_path)
    if name_or_path in names:
        if path.exists():
            log.warning(
                "%s means the bundled one; for the one in this folder write ./%s", path, path
            )
        return name_or_path
    return str(writable(path.resolve())) if path.exists() else name_or_path


def parsed_budget(text: str | None) -> Budget | None:
    """A budget, or a parameter error that names the option."""
    if text is None:
        return None
    try:
        return Budget.parse(text)
    except ValidationError as error:
        message = f"{shown(text)}\n{explain(error)}"
        raise typer.BadParameter(message, param_hint="--budget") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None
