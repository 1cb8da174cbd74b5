"""What is wrong with the splits of a dataset as a whole: prompts that two share, and empty ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trials.data.data_files import SPLITS, Split
from trials.io.errors import DatasetError

MAX_LISTED_ROWS = 5  # rows, of those with the same fault
RowPlace = tuple[Path, int]


def join_places(places: Sequence[str], found: int | None = None) -> str:
    """The first of several places, and how many more there are.

    Args:
        places: all of them, or the first.
        found: how many there are, where these are not all.
    """
    more = (len(places) if found is None else found) - len(places[:MAX_LISTED_ROWS])
    return ", ".join(places[:MAX_LISTED_ROWS]) + (f" and {more:,} more" if more else "")


@dataclass
class SplitLeakCheck:
    """Gathers rows whose prompt is in another split, to name them together.

    Attributes:
        first_seen: split and place of each prompt.
    """

    first_seen: dict[str, tuple[Split, Path, int]] = field(default_factory=dict)
    _shared: list[tuple[RowPlace, Split, RowPlace, Split]] = field(default_factory=list)

    def add(self, prompt: str, split: Split, file: Path, line: int) -> None:
        """Notes a row."""
        seen = self.first_seen.setdefault(prompt, (split, file, line))
        if seen[0] != split:
            self._shared.append(((file, line), split, seen[1:], seen[0]))

    def refuse(self) -> None:
        """Refuses prompts that are in two splits.

        Raises:
            DatasetError: with their number and the first of them.
        """
        if not self._shared:
            return
        [((file, line), split, first, other), *rest] = self._shared
        reject_rows(
            (file, line),
            f"the same prompt is in {other!r} ({_at(first)}) and {split!r}",
            [f"{_at(here)} ({_at(there)})" for here, _, there, _ in rest],
            "every prompt in one split only, or scores would be inflated: remove the rows from one "
            "of the two",
        )


def reject_rows(place: RowPlace, problem: str, others: Sequence[str], expected: str) -> None:
    """Refuses rows with one fault: the first in full, the others by number and place.

    Raises:
        DatasetError: always.
    """
    more = f"; so it is with {len(others):,} more: {join_places(others)}" if others else ""
    raise DatasetError(problem + more, path=place[0], line=place[1], expected=expected)


def reject_held_out_prompts(pairs: Sequence[tuple[RowPlace, tuple[Split, Path, int]]]) -> None:
    """Refuses preferences whose prompts are held out, each with the split and place of it.

    Raises:
        DatasetError: with their number and the first of them.
    """
    if not pairs:
        return
    [(place, (split, file, line)), *rest] = pairs
    reject_rows(
        place,
        f"the prompt is in {split!r} too ({file.name}:{line})",
        [f"{_at(here)} ({there.name}:{at})" for here, (_, there, at) in rest],
        "no prompt of validation or test, or scores would be inflated: remove these preferences",
    )


def reject_empty_splits(
    path: Path, rows: Mapping[Split, Sequence[object]], prompts: int | None
) -> None:
    """Refuses a dataset with an empty split.

    Args:
        path: of the dataset.
        rows: of each split.
        prompts: how many different ones there are, where the rows were split by a hash of them.

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


def _at(place: RowPlace) -> str:
    return f"{place[0].name}:{place[1]}"
