"""The ``autopipe tune`` command that repeats a run, made from its settings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tasks.config.options import Setting, flags_of, table_of
from tasks.config.settings import Budget, TuneSettings

# Their defaults differ between the command, which looks at the machine, and the settings.
ALWAYS_SHOWN = ("model", "budget", "parallel", "seed")


def option_of(path: str) -> str:
    """The option that sets a setting, as ``compute.precision``; errors name it."""
    return flags_of(TuneSettings).get(path) or "--" + path.replace("_", "-")


def reproduce_command(settings: TuneSettings, history: Path | None = None) -> str:
    """The command of a run: its dataset, and an option for each setting that is not the default."""
    words = ["autopipe", "tune", settings.dataset]
    for row, value in _changed(settings):
        if row.flag is None or value is None:
            continue
        if isinstance(value, tuple):
            words += [word for each in value for word in (row.flag, each)]
        elif isinstance(value, bool):
            words.append(row.flag if value else row.flag.replace("--", "--no-", 1))
        else:
            words += [row.flag, budget_text(value) if isinstance(value, Budget) else str(value)]
    if history is not None:
        words += ["--history", str(history)]
    return shlex.join(words)


def beyond_options(settings: TuneSettings) -> list[str]:
    """Paths of settings that are not the default and that no option of the command can set."""
    changed = _changed(settings)
    return sorted(row.path for row, value in changed if row.flag is None or value is None)


def _changed(settings: TuneSettings) -> list[tuple[Setting, Any]]:
    """Settings that differ from the defaults, and those that are always shown."""
    rows = [row for row in table_of(TuneSettings) if row.path != "dataset"]
    values = [(row, row.value_in(settings)) for row in rows]
    return [(row, at) for row, at in values if row.path in ALWAYS_SHOWN or at != row.default]


def budget_text(budget: Budget) -> str:
    """A budget in the form that ``Budget.parse`` reads."""
    if budget.unit == "seconds" and budget.amount == int(budget.amount):
        return str(budget)  # 16h12m
    suffix = {"seconds": "s", "trials": "", "full": " full"}[budget.unit]
    return f"{budget.amount:f}".rstrip("0").rstrip(".") + suffix
