"""The history: one flat row per finished trial, in append-only parquet files."""

from __future__ import annotations

import glob
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException, parquet
from pydantic import BaseModel

from tasks.history.curves import pack_curve, pack_timeline
from tasks.history.prefixes import COST_COLUMNS, prefix_rows
from trials.io.atomic import draft_of, replacing
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash
from trials.spec.kinds import CONFIG_CAUSED_KINDS
from trials.spec.records import TrialResult, TrialSpec

RUN_KEY = "run_key"  # column of rows that a tune run wrote
# Settings that do not make it another run: its length, and where it runs.
NOT_IN_RUN_KEY = ("budget", "trials_on", "store")
READ_ERROR = "doubt"  # column with the fault of the file that a row is from; exports have it too
# Values of columns that a row leaves out, as imported ones may.
DEFAULTS = {
    "state": "completed", "fraction": 1.0, "continued": False, "curve": "", "timeline": ""
}  # fmt: skip


def history_row(
    spec: TrialSpec,
    result: TrialResult,
    *,
    run_id: str,
    dataset_id: str,
    model_id: str,
    meta: Mapping[str, float],
) -> dict[str, Any]:
    """One finished trial as one flat row (columns: data/history/README.md).

    Its ``trial_id`` holds a hash of what decided the outcome: names of runs repeat, on another
    machine or once a folder was removed, and other trials must not be taken for these.
    """
    own = spec.identity()
    number = spec.trial_id if spec.trial_id.endswith(own) else f"{spec.trial_id}-{own}"
    row: dict[str, Any] = {
        "run_id": run_id,
        "trial_id": f"{run_id}/{dataset_id}/{number}",
        "dataset_id": dataset_id,
        "dataset_fingerprint": spec.dataset_fingerprint,
        "model_id": model_id,
        "model_fingerprint": spec.model_fingerprint,
        "state": result.state.value,
        "fraction": result.fraction,
        "score": result.score,
        "score_se": result.score_se,
        "cost_seconds": result.cost.seconds,
        "cost_flops": result.cost.flops,
        "cost_tokens": result.cost.tokens,
        "failure_kind": result.failure.kind.value if result.failure else None,
        "stop_rule": result.stop.rule.value if result.stop else None,
        "continued": spec.inherits_from is not None,
        "began_from": spec.inherits_from and f"{run_id}/{dataset_id}/{spec.inherits_from}",
        "began_step": spec.inherited_step,
        "seed": spec.seed,
        "total_steps": spec.schedule.total_steps,
        "versions": json.dumps(result.provenance.versions if result.provenance else {}),
        "git_commit": result.provenance.git_commit if result.provenance else None,
        "curve": pack_curve(result.curve),
        "timeline": "" if spec.inherits_from else pack_timeline(result.cost.timeline),
    }
    row |= {f"config.{name}": value for name, value in sorted(spec.config.items())}
    row |= {f"meta.{name}": value for name, value in sorted(meta.items())}
    row |= {f"signal.{name}": value for name, value in sorted(result.signals.items())}
    return row


def is_in_history(folder: Path, name: str) -> bool:
    """True when ``append_history`` wrote a file of that name."""
    files = (f"{glob.escape(name)}.parquet", f"{glob.escape(name)}.*.parquet")
    return any(any(folder.glob(file)) for file in files)


def append_history(rows: Iterable[Mapping[str, Any]], folder: Path, name: str) -> Path:
    """Writes rows as one new parquet file, whole or not at all.

    A resumed run holds all of its trials and replaces its file, also one from when files were named
    ``<name>.<key>.parquet``. A file with other trials, of another run of that name, is left alone:
    the rows go to ``<name>.2.parquet``, and so on.
    """
    frame = pd.DataFrame(list(rows))
    partial = draft_of(folder / name)
    write_parquet(frame, partial)
    for earlier in sorted(folder.glob(f"{glob.escape(name)}.*.parquet")):
        if _holds(frame, earlier):
            partial.replace(earlier)
            return earlier
    for number in itertools.count(1):
        file = folder / (f"{name}.parquet" if number == 1 else f"{name}.{number}.parquet")
        if _claimed(partial, file):
            break
        if _holds(frame, file):
            partial.replace(file)
            break
    partial.unlink(missing_ok=True)
    return file


def _claimed(partial: Path, file: Path) -> bool:
    """Gives a file its name, unless another one has it: then False, where a rename replaces it."""
    try:
        os.link(partial, file)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: claim the name, then fill it
        try:
            file.open("xb").close()
        except FileExistsError:
            return False
        partial.replace(file)
    return True


def write_parquet(frame: pd.DataFrame, file: Path) -> None:
    """Writes a table, whole or not at all."""
    with replacing(file) as draft:
        frame.to_parquet(draft, compression="zstd", index=False)


def _holds(frame: pd.DataFrame, file: Path) -> bool:
    """True when the rows include all trials of a file; an unreadable one must not be replaced."""
    try:
        written = pd.read_parquet(file, columns=["trial_id"])
    except (OSError, ValueError):
        return False
    return set(written["trial_id"]) <= set(frame.get("trial_id", []))


def history_files(folder: Path, without_key: str | None = None) -> list[Path]:
    """The history's files in a fixed order; those of runs with the given key are left out."""
    files = sorted(folder.glob("*.parquet"))
    return [file for file in files if without_key is None or without_key not in _keys(file)]


def _keys(file: Path) -> set[str]:
    """Keys of the runs whose rows a file holds; none where it cannot be read, or names none."""
    try:
        if RUN_KEY not in parquet.read_schema(file).names:
            return set()
        return set(pd.read_parquet(file, columns=[RUN_KEY])[RUN_KEY].dropna().astype(str))
    except (OSError, ValueError):
        return set()  # reading its rows reports the fault


def run_key(settings: BaseModel, dataset_fingerprint: str) -> str:
    """Key of all runs with these settings on this data: a repetition does not learn from the first.

    A setting that was added since, and has its default, does not make it another run.
    """
    content = settings.model_dump_json(exclude=set(NOT_IN_RUN_KEY), exclude_defaults=True)
    return content_hash(content, dataset_fingerprint, digits=12)


def read_history(files: Sequence[Path]) -> pd.DataFrame:
    """All rows of the files; columns that a file lacks are empty in its rows.

    Rows of a file with two columns of one name say so in the column `READ_ERROR`, for the check.

    Raises:
        SettingsError: when a file cannot be read as parquet.
    """
    frames = []
    for file in files:
        try:
            frames.append(read_parquet(file))
        except SettingsError as error:
            raise SettingsError(
                f"{error}\n  restore it with git checkout or dvc checkout, or move it elsewhere"
            ) from None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def row_count(file: Path) -> int:
    """Rows of a file, by its footer; 0 where there is none, which reading its rows reports."""
    try:
        return int(parquet.read_metadata(file).num_rows)
    except (OSError, ArrowException, ValueError):
        return 0


def read_parquet(file: Path) -> pd.DataFrame:
    """The table of one file; with two columns of one name, the first, and `READ_ERROR` says so.

    Raises:
        SettingsError: when it cannot be read as parquet.
    """
    # Not pandas' own reader, which cannot tell columns of one name apart.
    try:
        with parquet.ParquetFile(file) as opened:
            frame: pd.DataFrame = opened.read().to_pandas()
    except (OSError, ArrowException, ValueError, TypeError, LookupError) as error:
        raise SettingsError(f"{file} cannot be read as parquet: {error}") from None
    frame.columns = frame.columns.map(str)
    twice = frame.columns.duplicated()
    if twice.any():
        names = ", ".join(sorted(set(frame.columns[twice])))
        frame = frame.loc[:, ~twice].assign(**{READ_ERROR: f"two columns are named {names[:200]}"})
    return frame


def search_history(rows: pd.DataFrame) -> pd.DataFrame:
    """The history as the search learns from it: full trials, failures, and prefixes of curves.

    Each full-length trial with a curve also gives one row per prefix fraction, with signals, score
    and cost as they were then: where a row does not say, its share of the whole. A continued trial
    has only a part of the cost, so its cost is left open. Trials that a rule stopped are left out,
    and so are failures known to say nothing of the configuration. Only ``dataset_id``, ``config.*``
    and ``score`` must be there.
    """
    if rows.empty:
        return rows
    rows = rows.copy()
    for column, default in DEFAULTS.items():
        given = rows[column] if column in rows else pd.Series(None, index=rows.index, dtype=object)
        rows[column] = given.where(given.notna(), default)
    continued = rows["continued"].astype(bool)
    for column in COST_COLUMNS:
        if column in rows:
            rows[column] = rows[column].astype(float).mask(continued)
    full = rows[(rows["state"] == "completed") & (rows["fraction"].astype(float) >= 1.0)]
    failed = rows[rows["state"] == "failed"]
    if "failure_kind" in failed:
        kinds = failed["failure_kind"]
        failed = failed[kinds.isna() | kinds.isin(CONFIG_CAUSED_KINDS)]
    prefixes = [prefix for row in records(full) if row["curve"] for prefix in prefix_rows(row)]
    frame = pd.concat([full, failed, pd.DataFrame(prefixes)], ignore_index=True)
    return frame.drop(columns=["curve", "timeline"])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
