"""Cells of a table as values of the history, each read alone by the type of its field."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any, Literal, get_args

from tasks.translation.results import CONFIG, RowError
from tasks.translation.values import parse_seconds
from trials.spec.hyperparameters import Hyperparameters

CellType = Literal["text", "choice", "boolean", "integer", "number", "any number"]

# Fields of a row that a table may fill; of the groups, any name.
FIELDS: dict[str, CellType] = {
    **dict.fromkeys(("run_id", "trial_id", "dataset_id", "dataset_fingerprint"), "text"),
    **dict.fromkeys(("model_id", "model_fingerprint", "state", "failure_kind"), "text"),
    **dict.fromkeys(("stop_rule", "versions", "git_commit", "curve", "timeline"), "text"),
    **dict.fromkeys(("run_key", "began_from"), "text"),
    **dict.fromkeys(("fraction", "score", "score_se"), "number"),
    **dict.fromkeys(("cost_seconds", "cost_flops", "cost_tokens"), "number"),
    **dict.fromkeys(("seed", "total_steps", "began_step"), "integer"),
    "continued": "boolean",
}
HYPERPARAMETERS = [f"{CONFIG}{name}" for name in Hyperparameters.model_fields]
GROUPS = ("meta.", "signal.")
# How programs write "nothing"; in a field of text these are ordinary words.
EMPTY_CELLS = ("", "nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>")
MAX_INTEGER = 2**63 - 1  # that parquet can hold
STATE_SYNONYMS = {
    "completed": [
        *("complete", "completed", "finished", "success", "succeeded", "terminated", "done")
    ],
    "stopped": ["pruned", "stopped", "killed", "early_stopped", "cancelled", "canceled"],
    "failed": ["fail", "failed", "error", "errored", "crashed", "crash"],
}
UNFINISHED_STATES = (
    *("running", "pending", "waiting", "paused", "queued", "scheduled", "preempting", "preempted"),
)
BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def is_field(name: str) -> bool:
    """True for columns of the history that can be imported."""
    return name in FIELDS or name in HYPERPARAMETERS or name.startswith(GROUPS)


def cell_type(field: str) -> CellType:
    """The type of a field's values."""
    if field in FIELDS:
        return FIELDS[field]
    if field.startswith(GROUPS):
        return "any number"
    annotation = Hyperparameters.model_fields[field.removeprefix(CONFIG)].annotation
    # Of ``float | None`` its members, of ``Literal[...]`` its choices, of ``float`` nothing.
    types = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    kinds: dict[Any, CellType] = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(types[0], "choice")


def parse_cell(field: str, value: Any, column: str | None = None) -> Any:
    """A cell as a value of its field, None when it is empty; a RowError for another type."""
    kind = cell_type(field)
    bare = value.strip() if isinstance(value, str) else value
    if bare is None or (isinstance(bare, float) and math.isnan(bare)):
        return None
    if field == "state":
        return _state(_text(value).strip())
    if field == "cost_seconds" and isinstance(bare, str) and (":" in bare or "day" in bare):
        bare = parse_seconds(bare)
    if kind == "text":
        return _text(value) or None
    if isinstance(bare, str) and bare in EMPTY_CELLS:
        return None
    if kind == "choice":
        return bare
    found = BOOLEANS.get(str(bare).lower()) if kind == "boolean" else _number(bare)
    if found is None:
        expected = "true or false" if kind == "boolean" else "a number"
    elif kind in ("number", "integer") and not math.isfinite(found):
        expected = "a finite number"
    elif kind == "integer" and (found != int(found) or abs(found) > MAX_INTEGER):
        expected = "a whole number"
    else:
        return {"boolean": bool, "integer": int}.get(kind, float)(found)
    place = f" in column {column!r}" if column not in (None, field) else ""
    raise RowError(f"{field}: expected {expected}, found {value!r}{place}")


def _state(found: str) -> str | None:
    """A state in our words, from those of other programs; the check finds unknown ones."""
    word = found.rpartition(".")[2].lower()
    if word in UNFINISHED_STATES:
        raise RowError(f"its state is {found}: it has not finished; import it again once it has")
    return next((ours for ours, words in STATE_SYNONYMS.items() if word in words), found) or None


def _text(value: Any) -> str:
    # Numbers beside empty cells are floats in a parquet file: 42.0 is the name 42.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None  # Python lets underscores group digits, a table does not
    if isinstance(value, int):
        return value
    for kind in (int, float) if isinstance(value, str) else (float,):
        try:
            return kind(value)
        except (TypeError, ValueError):
            continue
    return None
