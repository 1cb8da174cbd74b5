"""Files of JSON lines, read with the place of every line for errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trials.errors import DatasetError


def read_jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the 1-based number and the object of every line that is not blank.

    Raises:
        DatasetError: for a line that is not UTF-8 or no JSON object.
    """
    with file.open("rb") as stream:
        for number, content in enumerate(stream, 1):
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DatasetError(
                    f"byte {error.start + 1} of the line is not UTF-8",
                    path=file,
                    line=number,
                    expected="UTF-8; convert with: iconv -f <its encoding> -t UTF-8",
                ) from None
            if not text.strip():
                continue
            try:
                raw = json.loads(text)
            except json.JSONDecodeError as error:
                raise DatasetError(
                    f"broken JSON at column {error.colno}: {error.msg}",
                    path=file,
                    line=number,
                    expected="one JSON object a line",
                ) from None
            if not isinstance(raw, dict):
                raise DatasetError(
                    f"found a JSON {type(raw).__name__}",
                    path=file,
                    line=number,
                    expected="one JSON object a line",
                )
            yield number, raw
