"""Plain tables, CSV or parquet: columns under our own names, or mapped to them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.history import records
from tasks.importers.common import Imported, NoRowError, Target, make_row, number
from trials.errors import SettingsError
from trials.hyperparameters import Hyperparameters, is_unset

# Fields of a row that a table may fill; of the groups, any name.
FIELDS = (
    *(
        "run_id",
        "trial_id",
        "dataset_id",
        "dataset_fingerprint",
        "model_id",
        "state",
        "fraction",
        "score",
    ),
    *("score_se", "cost_seconds", "cost_flops", "cost_tokens", "failure_kind", "stop_rule"),
    *("continued", "seed", "total_steps", "versions", "git_commit", "curve"),
)
GROUPS = ("meta.", "signal.")
CONFIG = "config."


def import_table(source: Path, target: Target) -> Imported:
    """Imports every line of a table."""
    imported = Imported()
    for line, raw in enumerate(read_table(source, target.columns), start=1):
        values = mapped(raw, target.columns)
        item = str(values.get("trial_id") or f"{source.stem}-{line:06d}")
        if "run_id" not in values:  # else it is an export of a history, whose ids are kept
            values.pop("trial_id", None)
        try:
            imported.add(item, row_of(item, values, target))
        except NoRowError as error:
            imported.add(item, str(error))
    return imported


def row_of(item: str, values: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """The row of one line; ``values`` are under our names.

    Raises:
        NoRowError: when it has no score, though it did not fail, or no configuration.
    """
    score, failed = values.get("score"), values.get("state") == "failed"
    if score is None and not failed:
        raise NoRowError("no score in its line: map a column to it, as --map score=eval/accuracy")
    if score is not None and number(score) is None:
        raise NoRowError(f"its score is {score!r}, which is no finite number")
    if not any(name.startswith(CONFIG) for name in values):
        raise NoRowError("no hyperparameter in its line: --map config.sft_learning_rate=COLUMN")
    config = {n.removeprefix(CONFIG): v for n, v in values.items() if n.startswith(CONFIG)}
    others = {n: v for n, v in values.items() if not n.startswith(CONFIG)}
    return make_row(target, item, config=config, **others)


def mapped(raw: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The values of a line under our names; what is empty is left out."""
    own = {name: name for name in raw if is_field(name)}
    found = {field: raw[column] for field, column in (own | dict(columns)).items()}
    return {field: value for field, value in found.items() if not is_unset(value) and value != ""}


def is_field(name: str) -> bool:
    """Whether a name is that of a column of the history that can be imported."""
    if name.startswith(CONFIG):
        return name.removeprefix(CONFIG) in Hyperparameters.model_fields
    return name in FIELDS or name.startswith(GROUPS)


def read_table(source: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """The lines of a CSV or parquet file.

    Raises:
        SettingsError: when it cannot be read, or a field or a column of ``columns`` is unknown.
    """
    try:
        parquet = source.suffix == ".parquet"
        frame = pd.read_parquet(source) if parquet else pd.read_csv(source)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{source} cannot be read as a table: {error}") from None
    for field, column in columns.items():
        if not is_field(field):
            known = [*FIELDS, *(f"{CONFIG}{name}" for name in Hyperparameters.model_fields)]
            raise SettingsError(
                f"--map {field}={column}: {field!r} is no field{_near(field, known)}\n"
                f"  expected one of {', '.join(FIELDS)}, config.*, meta.* or signal.*"
            )
        if column not in frame:
            raise SettingsError(
                f"--map {field}={column}: {source.name} has no such column"
                f"{_near(column, list(map(str, frame)))}\n  it has: {', '.join(map(str, frame))}"
            )
    return records(frame)


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
