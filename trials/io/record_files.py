"""Records on disk: read and written in one place, whole or not at all.

What is read was written by AutoPipe, and has been on a disk since, where people, other programs and
crashes change it. So it is read as anything from outside is: bounded, and with an error that names
the file, what is wrong with it, and what to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trials.io.atomic import write_text
from trials.io.errors import FileError, RecordError
from trials.io.jsonl import finite, refuse_constant
from trials.io.problems import expectation, place

LARGEST_BYTES = 1 << 28  # the result of a trial with curves and outcomes takes a few megabytes
SHOWN_PROBLEMS = 3
# What is lost when a file of a run is removed, and so what to do about one that is damaged.
REMEDIES = {
    "run.json": "restore it from a copy, or start a new run: without it this one cannot go on",
    "spec.json": "remove the folder that it is in: the trial is run again when the run is resumed",
    "result.json": "remove it: the trial is run again when the run is resumed",
    "summary.json": "remove it: it is made again when the run is resumed",
    "observations.json": "remove it: it is made again when the run is resumed",
    "versions.json": "remove it: what was kept stays kept, but the run no longer says what it was",
    "events.jsonl": "remove that line: it is one of many points of the trial's curves",
    "plan.json": "remove it: what trials cost is measured again when the run is resumed",
    "ledger.json": "remove it: the time that the run has spent so far is then not counted",
    "proposals.jsonl": "remove that line: its trial is proposed again when the run is resumed",
}
ELSE = "restore it from a copy, or remove it if it can be made again"

Model = TypeVar("Model", bound=BaseModel)


def write_json(path: Path, record: BaseModel | dict[str, Any]) -> None:
    """Writes JSON, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    text = (
        record.model_dump_json(indent=1)
        if isinstance(record, BaseModel)
        else json.dumps(record, indent=1, sort_keys=True, default=str)
    )
    write_text(path, text)


def read_record(path: Path, kind: type[Model]) -> Model:
    """Reads one record.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it cannot be read.
        RecordError: it is not such a record.
    """
    text = read_text(path)
    try:
        _content(text)
        return kind.model_validate_json(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(path, problems_of(error), remedy_of(path)) from None


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds a mapping and is no record.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it cannot be read.
        RecordError: it holds something else.
    """
    text = read_text(path)
    try:
        content = _content(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(path, problems_of(error), remedy_of(path)) from None
    if not isinstance(content, dict):
        found = f"holds a {type(content).__name__}, expected a mapping"
        raise RecordError(path, found, remedy_of(path))
    return content


def read_text(path: Path) -> str:
    """The text of a file of AutoPipe's own.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it cannot be read.
        RecordError: it is empty, larger than any such file is, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError("read", path, error) from error
    if not content.strip():
        raise RecordError(path, "is empty", remedy_of(path))
    if len(content) > LARGEST_BYTES:
        raise RecordError(path, f"has more than {LARGEST_BYTES >> 20} MiB", remedy_of(path))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"is not UTF-8: byte 0x{content[error.start]:02x} at position {error.start}"
        raise RecordError(path, found, remedy_of(path)) from None


def remedy_of(path: Path) -> str:
    """The remedy for a damaged file."""
    return f"{REMEDIES.get(path.name, ELSE)}: {path}"


def _content(text: str) -> Any:
    """JSON without NaN and infinity: AutoPipe writes null where there is no number."""
    return json.loads(text, parse_constant=refuse_constant, parse_float=finite)


def problems_of(error: Exception) -> str:
    """The problems, without the values: they may be long, or secret."""
    if not isinstance(error, ValidationError):
        nested = isinstance(error, RecursionError)
        return "is nested too deeply" if nested else f"cannot be read: {error}"
    found = error.errors(include_url=False, include_input=False)
    lines = [": ".join(filter(None, (place(e), expectation(e)))) for e in found[:SHOWN_PROBLEMS]]
    more = f"; and {len(found) - SHOWN_PROBLEMS} more" if len(found) > SHOWN_PROBLEMS else ""
    return "; ".join(lines) + more
