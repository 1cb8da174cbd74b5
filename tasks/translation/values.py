"""Values that other programs wrote as text: numbers, durations, literals, files of names."""

from __future__ import annotations

import ast
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from trials.io.errors import SettingsError
from trials.io.plain_yaml import parse_yaml

MAX_LITERAL = 2000  # characters of a setting
MAX_BYTES = 20_000_000  # of a file of arguments, or of the state of a trainer
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def finite_number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    found = _float(value)
    return found if found is not None and math.isfinite(found) else None


def positive_number(value: Any) -> float | None:
    """A number above zero, or None: trackers write 0 for what they did not measure."""
    found = finite_number(value)
    return found if found is not None and found > 0 else None


def is_nonfinite(value: Any) -> bool:
    """True for NaN and infinity, also as text: JSON has no such numbers."""
    found = _float(value)
    return found is not None and not math.isfinite(found)


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def parse_seconds(value: Any) -> float | None:
    """A duration in seconds, also from text such as ``0 days 00:04:22.3``; None if empty."""
    if value is None or finite_number(value) is not None:
        return positive_number(value)
    try:
        return positive_number(pd.Timedelta(str(value)).total_seconds())
    except (ValueError, OverflowError):
        return None


def parse_literal(text: Any) -> Any:
    """A value of which only the text was kept, as ``1e-05``, ``True``, ``None`` or ``['a']``."""
    if not isinstance(text, str) or DECIMAL_COMMA.fullmatch(text.strip()):
        return text  # 0,5 would become the pair of 0 and 5
    # A long text is not a setting, and Python's parser of literals may crash on one.
    for parse in (json.loads, ast.literal_eval) if len(text) <= MAX_LITERAL else ():
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text.strip()


def read_mapping(file: Path) -> dict[str, Any]:
    """Names and values of a YAML or JSON file; a SettingsError when there are none to be read."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{file} cannot be read: it has more than {MAX_BYTES:,} bytes")
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix == ".json" else parse_yaml(text)
    except RecursionError:
        raise SettingsError(f"{file} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: expected names and values, found {type(content).__name__}")
    return {str(name): parse_literal(value) for name, value in content.items()}
