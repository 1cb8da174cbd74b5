"""What the cells of a table may be: every field of the history has one type, each cell is read
on its own."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any, Literal, get_args

from tasks.translation.common import NoRowError, seconds_of
from trials.spec.hyperparameters import Hyperparameters

Kind = Literal["text", "choice", "truth", "whole", "number", "any number"]

TEXTS = (
    *("run_id", "trial_id", "dataset_id", "dataset_fingerprint", "model_id", "model_fingerprint"),
    *("state", "failure_kind", "stop_rule", "versions", "git_commit", "curve", "timeline"),
    *("run_key", "began_from"),
)
NUMBERS = ("fraction", "score", "score_se", "cost_seconds", "cost_flops", "cost_tokens")
WHOLE = ("seed", "total_steps", "began_step")
# Fields of a row that a table may fill; of the groups, any name.
FIELDS = (*TEXTS, *NUMBERS, *WHOLE, "continued")
GROUPS = ("meta.", "signal.")
CONFIG = "config."
# How programs write "nothing"; in a field of text these are words as any other.
EMPTY = ("", "nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>")
LARGEST = 2**63 - 1  # whole number that parquet can hold
# How others say how a run ended.
STATES = {
    "completed": (
        "complete",
        "completed",
        "finished",
        "success",
        "succeeded",
        "terminated",
        "done",
    ),
    "stopped": ("pruned", "stopped", "killed", "early_stopped", "cancelled", "canceled"),
    "failed": ("fail", "failed", "error", "errored", "crashed", "crash"),
}
UNFINISHED = ("running", "pending", "waiting", "paused", "queued", "scheduled", "preempting")
TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def is_field(name: str) -> bool:
    """Whether a name is that of a column of the history that can be imported."""
    if name.startswith(CONFIG):
        return name.removeprefix(CONFIG) in Hyperparameters.model_fields
    return name in FIELDS or name.startswith(GROUPS)


def kind_of(field: str) -> Kind:
    """The type of a field's values."""
    if field in TEXTS:
        return "text"
    if field == "continued":
        return "truth"
    if field in WHOLE:
        return "whole"
    if field.startswith(GROUPS):
        return "any number"
    if not field.startswith(CONFIG):
        return "number"
    annotation = Hyperparameters.model_fields[field.removeprefix(CONFIG)].annotation
    # Of ``float | None`` its members, of ``Literal[...]`` its choices, of ``float`` nothing.
    types = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    kinds: dict[Any, Kind] = {bool: "truth", int: "whole", float: "number"}
    return kinds.get(types[0], "choice")


def typed(field: str, value: Any, column: str | None = None) -> Any:
    """A cell as a value of its field; None when it is empty.

    Args:
        field: under our name.
        value: text, as in a CSV file, or what a parquet file holds.
        column: name in the table, where it is another one.

    Raises:
        NoRowError: when it is of another type.
    """
    kind = kind_of(field)
    bare = value.strip() if isinstance(value, str) else value
    if bare is None or (isinstance(bare, float) and math.isnan(bare)):
        return None
    if field == "state":
        return _state(_text(value).strip())
    if field == "cost_seconds" and isinstance(bare, str) and (":" in bare or "day" in bare):
        bare = seconds_of(bare)
    if kind == "text":
        return _text(value) or None
    if isinstance(bare, str) and bare in EMPTY:
        return None
    if kind == "choice":
        return bare
    found = _truth(bare) if kind == "truth" else _number(bare)
    expected = None
    if found is None:
        expected = "true or false" if kind == "truth" else "a number"
    elif kind in ("number", "whole") and not math.isfinite(found):
        expected = "a finite number"
    elif kind == "whole" and (found != int(found) or abs(found) > LARGEST):
        expected = "a whole number"
    if found is None or expected:
        place = f" in column {column!r}" if column not in (None, field) else ""
        raise NoRowError(f"{field}: expected {expected}, found {value!r}{place}")
    if kind == "truth":
        return found
    return int(found) if kind == "whole" else float(found)


def _state(told: str) -> str | None:
    """A state in our words, from those of trackers, sweepers and schedulers.

    Raises:
        NoRowError: the run is not finished; a word that is not known is left for the check.
    """
    word = told.rpartition(".")[2].lower()
    if word in UNFINISHED:
        raise NoRowError(f"its state is {told}: it is not finished")
    return next((ours for ours, words in STATES.items() if word in words), told) or None


def _text(value: Any) -> str:
    # Numbers beside empty cells are floats in a parquet file: 42.0 is the name 42.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _truth(value: Any) -> bool | None:
    return TRUTHS.get(str(value).lower())


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # digits may be grouped like this in a program, not in a table
    for kind in (int, float) if isinstance(value, str) else (float,):
        try:
            return value if isinstance(value, int) else kind(value)
        except (TypeError, ValueError):
            continue
    return None
