"""The file and line of a row, as errors name them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trials.io.errors import DatasetError


class RowLocation(NamedTuple):
    """The file and line of a row; ``line`` counts rows where a file has no lines."""

    file: Path | None
    line: int | None

    def error(self, problem: str, expected: str) -> DatasetError:
        """The error that says what was found here and what was expected."""
        return DatasetError(problem, path=self.file, line=self.line, expected=expected)

    @property
    def short(self) -> str:
        """The name of the file without its folder, and the line."""
        return f"{self.file.name if self.file else self.file}:{self.line}"
