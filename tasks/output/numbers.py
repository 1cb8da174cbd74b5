"""Numbers in the files that DVC follows: few digits, names `dvc metrics show` can print."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

DIGITS = 6  # far below any standard error
FLOAT_FORMAT = f"%.{DIGITS}g"  # of tables


def metrics_by_name(
    table: pd.DataFrame, key: str, columns: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
    """Finite numbers of each row, by a name made from its key.

    Args:
        table: one row per name.
        key: the column that names it.
        columns: which numbers; default: all but the key.
    """
    wanted = [str(c) for c in table if c != key] if columns is None else list(columns)
    out = {}
    for row in table.to_dict("records"):
        name = re.sub(r"[^a-z0-9]+", "_", str(row[key]).lower()).strip("_")
        values = {column: float(row[column]) for column in wanted}
        out[name] = {c: round(v, DIGITS) for c, v in values.items() if math.isfinite(v)}
    return out


def round_floats(value: Any) -> Any:
    """Floats of a nested mapping, rounded to ``DIGITS`` significant digits."""
    if isinstance(value, dict):
        return {key: round_floats(each) for key, each in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
