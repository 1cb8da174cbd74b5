"""Which importer reads a source, and how its rows join the history."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from tasks.history import history_files, read_history
from tasks.history_checks import REASON, append_checked
from tasks.importers import mlflow, trl
from tasks.importers.common import Imported, Refused, Target
from tasks.importers.files import PARQUET, SUFFIXES, header
from tasks.importers.mlflow import import_mlflow
from tasks.importers.table import import_table
from tasks.importers.trl import import_trl
from tasks.importers.wandb import import_wandb
from trials.errors import SettingsError

Format = Literal["trl", "mlflow", "wandb", "csv"]
READERS: dict[Format, Callable[[Path, Target], Imported]] = {
    "trl": import_trl,
    "mlflow": import_mlflow,
    "wandb": import_wandb,
    "csv": import_table,
}
# Columns of every export of Weights & Biases.
WANDB_COLUMNS = {"Name", "State"}


@dataclass(frozen=True)
class Joined:
    """What became of a source.

    Attributes:
        file: the new history file; None when no row was good.
        imported: rows that joined the history.
        refused: all that did not, with the reasons.
        quarantined: how many of these are rows, kept in the quarantine.
        rows: those that joined.
        notes: what else is to be said, a sentence each.
    """

    file: Path | None
    imported: int
    refused: list[Refused]
    quarantined: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def detect(source: Path) -> Format:
    """The format of a source, from what is in it.

    Raises:
        SettingsError: when it is not there, or nothing that is known is in it.
    """
    if source.is_file():
        suffix = source.suffix.lower()
        if suffix == PARQUET:
            return "csv"
        if suffix in SUFFIXES:
            return "wandb" if set(header(source)) >= WANDB_COLUMNS else "csv"
    elif source.is_dir():
        if next(source.rglob(trl.STATE), None):
            return "trl"
        if mlflow.run_folders(source):
            return "mlflow"
    found = "nothing of the kind" if source.exists() else "no such file or folder"
    raise SettingsError(
        f"{source}: expected a folder with {trl.STATE}, an mlruns folder, a .csv, .tsv or "
        f".parquet file; found {found}"
    )


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
    if target.columns and chosen in ("trl", "mlflow"):
        raise SettingsError(f"--map is for tables; a source of the format {chosen} has no columns")
    if source.is_dir() != (chosen in ("trl", "mlflow")):
        kind = "folder" if chosen in ("trl", "mlflow") else "file"
        raise SettingsError(f"{source}: the format {chosen} is read from a {kind}")
    imported = READERS[chosen](source, target)
    if not imported.rows and not imported.refused:
        expected = trl.STATE if chosen == "trl" else "meta.yaml beside params or metrics"
        raise SettingsError(
            f"{source}: found no run; expected {expected} in it or in folders below"
        )
    return imported


def join_history(imported: Imported, folder: Path, name: str) -> Joined:
    """Appends the rows that pass the checks and are not in the history yet.

    The file is named by what is in it, so two imports at once, of the same or of other sources,
    cannot write over each other.
    """
    there = known_trials(folder)
    refused = list(imported.refused)
    new = []

    def refuse(row: Mapping[Any, Any], reason: str) -> None:
        trial = str(row["trial_id"])
        refused.append(Refused(imported.places.get(trial, trial), reason))

    for row in imported.rows:
        if row["trial_id"] in there:
            refuse(row, "it is in the history already")
        else:
            new.append(row)
    notes = [*_scores(imported), *imported.notes]
    if not new:
        return Joined(None, 0, refused, 0, notes=notes)
    digest = sha256(repr(new).encode()).hexdigest()[:12]
    file, bad = append_checked(new, folder, f"{safe_name(name)}.{digest}")
    for _, series in bad.iterrows():
        refuse(series.to_dict(), str(series[REASON]))
    rows = [row for number, row in enumerate(new) if number not in bad.index]
    return Joined(file, len(rows), refused, len(bad), rows, notes)


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
