"""The command of a run: which option of ``autopipe tune`` sets which field of the settings.

The one table of it: the command line names options by it where a setting is wrong, and a report
writes the command by it. Tests hold it against both the settings and the options there are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from tasks.config.settings import Budget, TuneSettings

# Fields in the order of the command; those of a group with its name before the dot.
OPTIONS = {
    "model": "--model",
    "budget": "--budget",
    "parallel": "--parallel",
    "seed": "--seed",
    "space": "--space",
    "strategy": "--strategy",
    "schedule.total_steps": "--steps",
    "schedule.max_length": "--max-length",
    "schedule.max_completion_tokens": "--max-completion",
    "schedule.eval_rows": "--eval-rows",
    "schedule.eval_batch_size": "--eval-batch",
    "schedule.micro_batch_size": "--micro-batch",
    "schedule.pass_k": "--pass-k",
    "schedule.pass_samples": "--pass-samples",
    "test_rows": "--test-rows",
    "threads": "--threads",
    "gpus_per_trial": "--gpus-per-trial",
    "accelerate_config": "--accelerate-config",
    "compute.precision": "--precision",
    "compute.gradient_checkpointing": "--gradient-checkpointing",
    "compute.vllm": "--vllm",
    "limits.silent_seconds": "--silent-after",
    "limits.checkpoint_seconds": "--checkpoint-every",
    "trials_on": "--trials-on",
    "store": "--store",
    "disk_gigabytes": "--disk",
    "early_stopping": "--early-stopping",
    "use_history": "--use-history",
    "allow_user_code": "--allow-user-code",
}
# Their defaults differ between the command, which looks at the machine, and the settings.
ALWAYS_SHOWN = ("model", "budget", "parallel", "seed")


def option_of(field: str) -> str:
    """The option that sets a field, as ``compute.precision``, of the settings."""
    return OPTIONS.get(field) or "--" + field.replace("_", "-")


def fields_of(settings: BaseModel) -> dict[str, Any]:
    """All settings by their name in ``OPTIONS``; a budget is one value."""
    found: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name != "budget" and hasattr(type(value), "model_fields"):
            found |= {f"{name}.{inner}": each for inner, each in fields_of(value).items()}
        else:
            found[name] = value
    return found


def reproduce_command(settings: TuneSettings, history: Path | None = None) -> str:
    """The command of a run: its dataset, and an option for each setting that is not the default.

    Args:
        settings: of the run.
        history: that it joined, where that is not the project's.
    """
    words = ["autopipe", "tune", settings.dataset]
    for field, value in _changed(settings).items():
        option = OPTIONS.get(field)
        if option is None or value is None:
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, budget_text(value) if field == "budget" else str(value)]
    if history is not None:
        words += ["--history", str(history)]
    return shlex.join(words)


def beyond_options(settings: TuneSettings) -> list[str]:
    """Settings that are not the default and that no option of the command can set."""
    changed = _changed(settings).items()
    return sorted(field for field, value in changed if field not in OPTIONS or value is None)


def _changed(settings: TuneSettings) -> Mapping[str, Any]:
    """What differs from the defaults, and what is always shown, in the order of the command."""
    unset = fields_of(type(settings)(dataset=settings.dataset, model=settings.model))
    values = fields_of(settings)
    ordered = [*OPTIONS, *(field for field in values if field not in OPTIONS)]
    return {
        field: values[field]
        for field in ordered
        if field in ALWAYS_SHOWN or values[field] != unset[field]
    }


def budget_text(budget: Budget) -> str:
    """A budget in the form that ``Budget.parse`` reads."""
    if budget.unit == "seconds" and budget.amount == int(budget.amount):
        return str(budget)  # 16h12m
    suffix = {"seconds": "s", "trials": "", "full": " full"}[budget.unit]
    amount = f"{budget.amount:f}".rstrip("0").rstrip(".")
    return f"{amount}{suffix}"
