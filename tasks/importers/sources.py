"""Which importer reads a source, and how its rows join the history."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from tasks.history.checks import REASON, append_checked
from tasks.history.rows import history_files, read_history
from tasks.importers import mlflow, mlflow_database, optuna, ray, trl, wandb
from tasks.importers.mlflow import import_mlflow
from tasks.importers.named import what_it_is
from tasks.importers.optuna import import_optuna
from tasks.importers.ray import import_ray
from tasks.importers.table import import_table
from tasks.importers.trl import import_trl
from tasks.importers.wandb import import_wandb
from tasks.translation.common import Imported, Refused, Target
from tasks.translation.files import PARQUET, SUFFIXES, header
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash

Format = Literal["trl", "mlflow", "wandb", "optuna", "ray", "csv"]
READERS: dict[Format, Callable[[Path, Target], Imported]] = {
    "trl": import_trl,
    "mlflow": import_mlflow,
    "wandb": import_wandb,
    "optuna": import_optuna,
    "ray": import_ray,
    "csv": import_table,
}
EXPECTED = (
    f"a folder with {trl.STATE}, an mlruns folder or mlflow.db, the results of Ray Tune, a "
    ".csv, .tsv or .parquet file"
)
WANTED = {
    "trl": trl.STATE,
    "mlflow": "mlflow.db, or meta.yaml beside params or metrics",
    "ray": f"{ray.PARAMS} beside {ray.PROGRESS} or {ray.RESULTS}",
    "wandb": wandb.SUMMARY,
    "optuna": "trials",
    "csv": "lines",
}
# Columns of every export of Weights & Biases.
WANDB_COLUMNS = {"Name", "State"}


@dataclass(frozen=True)
class Joined:
    """What became of a source.

    Attributes:
        file: the new history file; None when no row was good.
        imported: rows that joined the history.
        refused: what gave no good row, with the reasons.
        quarantined: how many of these are rows, kept in the quarantine.
        rows: those that joined.
        notes: what else is to be said, a sentence each.
        known: rows that the history had already.
    """

    file: Path | None
    imported: int
    refused: list[Refused]
    quarantined: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    known: int = 0


def detect(source: Path) -> Format:
    """The format of a source, from what is in it.

    Raises:
        SettingsError: when it is not there, or nothing that is known is in it.
    """
    if source.is_file():
        if source.name in (ray.RESULTS, ray.PROGRESS) and ray.trial_folders(source.parent):
            return "ray"
        if mlflow_database.database_of(source):
            return "mlflow"
        if source.suffix.lower() in SUFFIXES:
            return _table_form(source)
    elif source.is_dir():
        # Sweepers and trackers keep checkpoints of trainers in their folders.
        if ray.trial_folders(source):
            return "ray"
        if next(source.rglob(trl.STATE), None):
            return "trl"
        if mlflow_database.database_of(source) or mlflow.run_folders(source):
            return "mlflow"
        if wandb.run_folders(source):
            return "wandb"
    found = what_it_is(source) or "nothing of the kind"
    raise SettingsError(
        f"{source}: expected {EXPECTED}; found "
        f"{found if source.exists() else 'no such file or folder'}"
    )


def _table_form(source: Path) -> Format:
    """Whose table it is, by its columns.

    Raises:
        SettingsError: it cannot be read, or has no settings of runs in it.
    """
    if source.suffix.lower() == PARQUET:
        return "csv"
    columns = header(source)
    if ray.is_progress(columns):
        raise SettingsError(
            f"{source} is the {ray.PROGRESS} of a trial of Ray Tune, one line an iteration, "
            f"without the {ray.PARAMS} that its settings are in: import its folder, or that of "
            "the experiment"
        )
    if optuna.is_optuna(columns):
        return "optuna"
    return "wandb" if set(columns) >= WANDB_COLUMNS else "csv"


def read_source(source: Path, target: Target, form: str = "auto") -> Imported:
    """Rows of a source, and what gave none.

    Args:
        source: folder or file.
        target: what the rows are rows of.
        form: one of ``Format``, or ``auto``.

    Raises:
        SettingsError: when the source is not there or holds no run, the format is not known, or
            dataset or model of the rows are not given.
    """
    forms = get_args(Format)
    if form not in ("auto", *forms):
        raise SettingsError(f"--format {form}: expected auto, {', '.join(forms)}")
    if not source.exists():
        raise SettingsError(f"{source}: no such file or folder")
    chosen: Format = detect(source) if form == "auto" else form  # type: ignore[assignment]
    for option, column, given in (
        ("--dataset", "dataset_id", target.dataset_id),
        ("--model", "model_id", target.model_id),
    ):
        if given is None and column not in target.columns and chosen != "csv":
            raise SettingsError(
                f"{option} is missing: name what these runs trained on and from, or map a column "
                f"of the table: --map {column}=COLUMN"
            )
    without = chosen in ("trl", "mlflow") or (chosen == "wandb" and source.is_dir())
    if (target.columns or target.ignore) and without:
        option = "--map" if target.columns else "--ignore"
        raise SettingsError(
            f"{option} is for tables; a source of the format {chosen} has no columns"
        )
    kinds = {"trl": "a folder", "csv": "a file", "optuna": "a file"}
    kind = "a folder" if source.is_dir() else "a file"
    if kinds.get(chosen, kind) != kind:
        raise SettingsError(f"{source}: the format {chosen} is read from {kinds[chosen]}")
    imported = READERS[chosen](source, target)
    if not imported.rows and not imported.refused:
        raise SettingsError(
            f"{source}: found no run; expected {WANTED[chosen]} in it or in folders below"
        )
    return imported


def join_history(imported: Imported, folder: Path, name: str) -> Joined:
    """Appends the rows that pass the checks and are not in the history yet.

    The file is named by what is in it, so two imports at once, of the same or of other sources,
    cannot write over each other.
    """
    there = known_trials(folder)
    refused = list(imported.refused)

    def refuse(row: Mapping[Any, Any], reason: str) -> None:
        trial = str(row["trial_id"])
        refused.append(Refused(imported.places.get(trial, trial), reason))

    new = [row for row in imported.rows if row["trial_id"] not in there]
    known = len(imported.rows) - len(new)
    notes = [*_scores(imported), *imported.notes]
    if not new:
        return Joined(None, 0, refused, 0, notes=notes, known=known)
    digest = content_hash(repr(new), digits=12)
    file, bad = append_checked(new, folder, f"{safe_name(name)}.{digest}")
    for _, series in bad.iterrows():
        refuse(series.to_dict(), str(series[REASON]))
    rows = [row for number, row in enumerate(new) if number not in bad.index]
    return Joined(file, len(rows), refused, len(bad), rows, notes, known)


def _scores(imported: Imported) -> list[str]:
    """What the scores of runs are."""
    return [
        f"score: {name} of {count} run(s)"
        + (
            ", with a minus sign, as lower is better"
            if sign < 0
            else "; higher is better (else: --minimize)"
        )
        for (name, sign), count in sorted(imported.metrics.items())
    ]


def known_trials(folder: Path) -> set[Any]:
    """The ids of all trials of a history."""
    rows: pd.DataFrame = read_history(history_files(folder))
    return set(rows["trial_id"]) if "trial_id" in rows else set()


def safe_name(name: str) -> str:
    """A name as part of a file's name: never a path, never hidden."""
    return re.sub(r"[^\w-]", "-", name).strip("-") or "import"
