"""The contract of all readers: the options they are given, the rows and rejections they return."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.translation.values import read_mapping
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash
from trials.spec.kinds import Stage

CONFIG = "config."
DIGEST_DIGITS = 10
MAX_REASON = 1000  # characters: a reason may quote what was found, which may be of any length

Row = dict[str, Any]


class RowError(Exception):
    """A run of a source cannot become a row; the message says why."""


# What an odd run may raise while it is read: it is rejected, and the others are imported.
UNREADABLE = (
    *(RowError, SettingsError, RecursionError),
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError),
)


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import: how to read the source, and the names of its rows.

    Attributes:
        name: of the import, which is the ``run_id`` of its rows.
        dataset_id, model_id: what was trained on, and from; None where columns say it.
        fingerprint: of the dataset's content; None: only its name is known.
        score: metric that is the score, with a minus sign where lower is better; None: it is
            looked for.
        minimize: lower is better, whatever the score is called.
        stage: of runs whose arguments do not tell it.
        config: file with arguments that apply to all runs, and precede their own.
        processes: devices that shared a batch.
        columns: from our fields to columns of a table.
        ignore: columns and settings to skip, whatever they are called.
    """

    name: str
    dataset_id: str | None = None
    model_id: str | None = None
    fingerprint: str | None = None
    score: str | None = None
    minimize: bool = False
    stage: Stage | None = None
    config: Path | None = None
    processes: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()

    @cached_property
    def shared_arguments(self) -> dict[str, Any]:
        """Arguments of the file ``config``, or a SettingsError; empty without a file."""
        return read_mapping(self.config) if self.config else {}


@dataclass(frozen=True)
class Rejected:
    """An item of a source that gave no row, and why."""

    item: str
    reason: str


Score = tuple[str, float]
"""The metric that is the score of a row, and its sign: minus where lower is better."""


@dataclass
class ImportResult:
    """Rows, as in data/history/README.md, the items that gave none, and notes on the source.

    Attributes:
        places: of rows in their source, by ``trial_id``.
        metrics: number of rows with a score by the metric that it is.
        file: that the rows joined the history in; None when none did.
        quarantined: how many of the rejected are rows, kept in the quarantine.
        known: rows that the history had already.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    metrics: Counter[Score] = field(default_factory=Counter)
    file: Path | None = None
    quarantined: int = 0
    known: int = 0


# A reader yields the name of each item of a source and a function that makes its row, and may add
# notes. An error of its own, rather than of such a function, ends the import.
Items = Iterator[tuple[str, Callable[[], tuple[Row, Score]]]]
Reader = Callable[[Path, ImportOptions, list[str]], Items]


def read_all(reader: Reader, source: Path, options: ImportOptions) -> ImportResult:
    """All items of a source as rows or rejections; a SettingsError when it cannot be read."""
    result = ImportResult()
    _ = options.shared_arguments  # a broken file ends the import, rather than rejecting each row
    for item, row_of in reader(source, options, result.notes):
        try:
            row, score = row_of()
        except UNREADABLE as error:
            result.rejected.append(Rejected(item, _reason(error)))
        else:
            result.rows.append(row)
            result.places[str(row["trial_id"])] = item
            if row.get("score") is not None:
                result.metrics[score] += 1
    return result


def _reason(error: Exception) -> str:
    match error:
        case RowError() | SettingsError():
            reason = str(error)
        case UnicodeError():
            reason = f"cannot be understood: a file of it is not in UTF-8 ({error})"
        case RecursionError():
            reason = "cannot be understood: it is nested too deeply"
        case _:
            reason = f"cannot be understood: {type(error).__name__}: {error}"
    return reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]} ..."


def make_row(options: ImportOptions, item: str, values: Mapping[str, Any]) -> Row:
    """One history row; ``values`` are its columns, those of the configuration with their prefix."""
    dataset = values.get("dataset_id") or options.dataset_id
    own = {name: value for name, value in values.items() if not name.startswith(CONFIG)}
    row = {
        "run_id": options.name,
        "trial_id": f"{options.name}/{dataset}/{item}",
        "dataset_id": dataset,
        # A name without content must never equal a hash, so its form is another one.
        "dataset_fingerprint": options.fingerprint or (f"name:{dataset}" if dataset else None),
        "model_id": values.get("model_id") or options.model_id,
        "state": "completed",
        "fraction": 1.0,
        "continued": False,
        **{name: value for name, value in own.items() if name not in ("dataset_id", "model_id")},
        **{name: values[name] for name in sorted(values.keys() - own.keys())},
    }
    # Names of files may hold bytes that are not Unicode, and a history holds Unicode alone.
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    return row | {n: text.encode("utf-8", "backslashreplace").decode() for n, text in texts.items()}


def with_content_id(row: Row, seen: Counter[str]) -> Row:
    """A row whose ``trial_id`` ends in a hash of its values, wherever it is in its file.

    Equal rows are numbered by ``seen``, the uses of each id so far.
    """
    content = sorted(
        (name, float(value) if isinstance(value, int) else value)
        for name, value in row.items()
        if name not in ("run_id", "trial_id") and value is not None
    )
    digest = content_hash(json.dumps(content, default=str), digits=DIGEST_DIGITS)
    name = f"{row['trial_id']}-{digest}"
    seen[name] += 1
    return {**row, "trial_id": name if seen[name] == 1 else f"{name}-{seen[name]}"}
