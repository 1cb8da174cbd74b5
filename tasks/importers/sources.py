"""The importer of a source, and the way of its rows into the history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import NumericalHyperparameter, OrdinalHyperparameter

from tasks.history.checks import REASON, append_checked
from tasks.history.rows import history_files, read_history
from tasks.importers import mlflow, optuna, ray, trl, wandb
from tasks.importers.table import read_table_rows
from tasks.importers.unsupported import describe_unsupported
from tasks.translation.files import PARQUET, SUFFIXES, read_table
from tasks.translation.results import ImportOptions, ImportResult, Reader, Rejected, read_all
from tasks.translation.values import finite_number
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash

EXPECTED = (
    f"a folder with {trl.STATE}, an mlruns folder or mlflow.db, the results of Ray Tune, a "
    ".csv, .tsv or .parquet file"
)
# Columns of every export of Weights & Biases.
WANDB_COLUMNS = {"Name", "State"}


@dataclass(frozen=True)
class Format:
    """A format of past runs.

    Attributes:
        holds: what a source of it holds, for the message on one without.
        kind: the only kind of source it has; None for both files and folders.
        is_table: it has columns, which can be mapped or ignored; None: its files have.
    """

    read: Reader
    holds: str
    kind: Literal["a file", "a folder"] | None = None
    is_table: bool | None = True


FORMATS = {
    "trl": Format(trl.read_trl, trl.STATE, "a folder", is_table=False),
    "mlflow": Format(
        mlflow.read_mlflow, "mlflow.db, or meta.yaml beside params or metrics", is_table=False
    ),
    "wandb": Format(wandb.read_wandb, wandb.SUMMARY, is_table=None),
    "optuna": Format(optuna.read_optuna, "trials", "a file"),
    "ray": Format(ray.read_ray, f"{ray.PARAMS} beside {ray.PROGRESS} or {ray.RESULTS}"),
    "csv": Format(read_table_rows, "lines", "a file"),
}


def detect_format(source: Path) -> str:
    """The format of a source, a key of ``FORMATS``; a SettingsError if nothing known is in it."""
    if source.is_file():
        if source.name in (ray.RESULTS, ray.PROGRESS) and ray.trial_folders(source.parent):
            return "ray"
        if mlflow.find_database(source):
            return "mlflow"
        if source.suffix.lower() in SUFFIXES:
            return _table_format(source)
    elif source.is_dir():
        # Sweepers and trackers keep checkpoints of trainers in their folders.
        if ray.trial_folders(source):
            return "ray"
        if next(source.rglob(trl.STATE), None):
            return "trl"
        if mlflow.find_database(source) or mlflow.run_folders(source):
            return "mlflow"
        if wandb.run_folders(source):
            return "wandb"
    found = describe_unsupported(source) if source.exists() else "no such file or folder"
    raise SettingsError(f"{source}: expected {EXPECTED}; found {found or 'nothing of the kind'}")


def _table_format(source: Path) -> str:
    if source.suffix.lower() == PARQUET:
        return "csv"
    columns = read_table(source).columns
    if ray.is_progress_table(columns):
        raise SettingsError(
            f"{source} is a {ray.PROGRESS} of Ray Tune, one line per iteration, without "
            f"{ray.PARAMS}, which has its settings: import its folder, or that of the experiment"
        )
    if optuna.is_study_table(columns):
        return "optuna"
    return "wandb" if set(columns) >= WANDB_COLUMNS else "csv"


def read_source(source: Path, options: ImportOptions, form: str = "auto") -> ImportResult:
    """Rows of a source, and the items that gave none; ``form`` is ``auto`` or one of ``FORMATS``.

    Raises:
        SettingsError: when the source is not there or holds no run, the format is not known, or
            dataset or model of the rows are not given.
    """
    if form not in ("auto", *FORMATS):
        raise SettingsError(f"--format {form}: expected auto, {', '.join(FORMATS)}")
    if not source.exists():
        raise SettingsError(f"{source}: no such file or folder")
    chosen = detect_format(source) if form == "auto" else form
    for option, column, given in (
        ("--dataset", "dataset_id", options.dataset_id),
        ("--model", "model_id", options.model_id),
    ):
        if given is None and column not in options.columns and chosen != "csv":
            raise SettingsError(
                f"{option} is missing: name what these runs trained on and from, or map a column "
                f"of the table: --map {column}=COLUMN"
            )
    reader, kind = FORMATS[chosen], "a folder" if source.is_dir() else "a file"
    is_table = source.is_file() if reader.is_table is None else reader.is_table
    if (options.columns or options.ignore) and not is_table:
        option = "--map" if options.columns else "--ignore"
        raise SettingsError(f"{option} is for tables; the format {chosen} has no columns")
    if reader.kind not in (kind, None):
        raise SettingsError(f"{source}: the format {chosen} is read from {reader.kind}")
    result = read_all(reader.read, source, options)
    if not result.rows and not result.rejected:
        raise SettingsError(f"{source}: found no run; expected {reader.holds}, in it or below")
    return result


def join_history(result: ImportResult, folder: Path, name: str) -> ImportResult:
    """Appends the rows that pass the checks and are not in the history yet; returns only these.

    The file is named by a hash of its rows, so two imports at once, of the same or of other
    sources, cannot write over each other.
    """
    known = set(read_history(history_files(folder)).get("trial_id", ()))
    new = [row for row in result.rows if row["trial_id"] not in known]
    notes = [*_score_notes(result), *result.notes]
    joined = replace(result, rows=new, notes=notes, known=len(result.rows) - len(new))
    if not new:
        return joined
    digest = content_hash(repr(new), digits=12)
    stem = re.sub(r"[^\w-]", "-", name).strip("-") or "import"  # never a path, never hidden
    file, bad = append_checked(new, folder, f"{stem}.{digest}")
    rejected = [
        Rejected(result.places.get(trial, trial), str(reason))
        for trial, reason in zip(bad["trial_id"].map(str), bad[REASON], strict=True)
    ]
    return replace(
        joined,
        file=file,
        rows=[row for number, row in enumerate(new) if number not in bad.index],
        rejected=[*result.rejected, *rejected],
        quarantined=len(bad),
    )


def _score_notes(result: ImportResult) -> list[str]:
    """The metric that is the score, of how many runs, and its direction."""
    minus, plus = ", with a minus sign, as lower is better", "; higher is better (else: --minimize)"
    return [
        f"score: {name} of {count} run(s){minus if sign < 0 else plus}"
        for (name, sign), count in sorted(result.metrics.items())
    ]


def values_outside_space(rows: Iterable[Mapping[str, Any]], space: ConfigurationSpace) -> list[str]:
    """Hyperparameters with values beyond their range, which are learned from as those at its edge.

    One text for each: ``sft_learning_rate (3 values, 2e-05 to 5e-05; the space has 0.0001 to
    0.01)``.
    """
    rows = list(rows)
    found = []
    for name, hyperparameter in space.items():
        match hyperparameter:
            case NumericalHyperparameter(lower=lowest, upper=highest):
                steps = [lowest, highest]
            case OrdinalHyperparameter(sequence=sequence):
                steps = [*sequence]
            case _:
                continue
        ends = [end for end in map(finite_number, steps) if end is not None]
        if len(ends) < len(steps):  # no numbers, or none that bound it
            continue
        low, high = min(ends), max(ends)
        values = (finite_number(row.get(f"config.{name}")) for row in rows)
        beyond = sorted(v for v in values if v is not None and not low <= v <= high)
        if beyond:
            count = f"{len(beyond)} value{'s' * (len(beyond) > 1)}"
            span = f"{beyond[0]:g}" + f" to {beyond[-1]:g}" * (beyond[-1] > beyond[0])
            found.append(f"{name} ({count}, {span}; the space has {low:g} to {high:g})")
    return found
