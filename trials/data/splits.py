"""Faults of the splits of a dataset as a whole: prompts that two share, and empty splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trials.data.data_files import SPLITS, Split
from trials.io.errors import DatasetError, RowLocation

MAX_LISTED_ROWS = 5  # of those with the same fault


def join_places(places: Sequence[str]) -> str:
    """The first of several places, and the number of the others."""
    more = len(places) - MAX_LISTED_ROWS
    return ", ".join(places[:MAX_LISTED_ROWS]) + f" and {more:,} more" * (more > 0)


@dataclass
class SplitLeakCheck:
    """Gathers rows whose prompt was first seen in another split, to name them together."""

    first_seen: dict[str, tuple[Split, RowLocation]] = field(default_factory=dict)
    _leaks: list[tuple[RowLocation, str, str]] = field(default_factory=list)

    def add(self, prompt: str, split: Split, location: RowLocation) -> None:
        """Notes a row."""
        other, first = self.first_seen.setdefault(prompt, (split, location))
        if other != split:
            problem = f"the same prompt is in {other!r} ({first.short}) and {split!r}"
            self._leaks.append((location, first.short, problem))

    def add_preference(self, prompt: str, location: RowLocation) -> None:
        """Notes a preference, whose prompt must not be held out."""
        split, first = self.first_seen.get(prompt, ("train", location))
        if split != "train":
            problem = f"the prompt is in {split!r} too ({first.short})"
            self._leaks.append((location, first.short, problem))

    def reject(self, expected: str) -> None:
        """Rejects what was noted, where a prompt is in another split too.

        Raises:
            DatasetError: with the number of rows and the first of them.
        """
        if not self._leaks:
            return
        [(location, _, problem), *others] = self._leaks
        places = [f"{here.short} ({there})" for here, there, _ in others]
        more = f"; so it is with {len(places):,} more: {join_places(places)}" if places else ""
        raise location.error(problem + more, expected)


def reject_empty_splits(
    path: Path, rows: Mapping[Split, Sequence[object]], prompts: int | None
) -> None:
    """Rejects a dataset with an empty split.

    ``prompts`` is how many different ones there are, where rows were split by a hash of them.

    Raises:
        DatasetError: naming the split, and how it came about.
    """
    empty = next((split for split in SPLITS if not rows[split]), None)
    if empty is None:
        return
    problem = f"the {empty} split is empty"
    expected = "at least one row in each of train, validation and test"
    if prompts is not None:
        count = sum(map(len, rows.values()))
        same = f" with {prompts:,} different prompt{'s' * (prompts != 1)}"
        problem += (
            f": the {count:,} row{'s' * (count != 1)}{same * (prompts != count)} of this one file "
            "were split by a hash of the prompt, about 80 % to train, 10 % to validation and 10 % "
            f"to test, which gave {', '.join(f'{len(rows[split]):,}' for split in SPLITS)}"
        )
        expected += (
            ": more rows (from about 50 on every split nearly always has some), or a folder with "
            "the three splits as files of their own"
        )
    raise DatasetError(problem, path=path, expected=expected)
