"""JSON out of data files, read with the place of every object for errors, and bounded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trials.io.errors import DatasetError, RowLocation

DEEPEST = 64  # levels of lists and objects
LONGEST_NUMBER = 400  # digits; the largest float has 309
_SPACE = re.compile(r"[ \t\r\n]*")
ONE_OBJECT_A_LINE = "one JSON object per line"


def read_lines(
    lines: Iterable[tuple[int, str]], file: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the 1-based number and the object of every line that is not blank.

    Raises:
        DatasetError: for a line that is no JSON object, or one that no program could use.
    """
    for number, text in lines:
        if text.strip():
            here = RowLocation(file, number)
            try:
                raw = _DECODER.decode(text)
            except (ValueError, RecursionError) as error:
                raise _broken_line(error, text, here) from None
            yield number, _row(raw, here, ONE_OBJECT_A_LINE)


def read_array(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the line that each object of a JSON array begins on, and the object.

    Raises:
        DatasetError: for broken JSON, and for elements that are no objects.
    """
    expected = "one JSON array of objects, or one JSON object per line"
    at = _skip(text, _skip(text, 0) + 1)
    line, counted = 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        here = RowLocation(file, line)
        try:
            raw, at = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _broken(error, RowLocation(file, error.lineno), expected) from None
        except (ValueError, RecursionError) as error:
            raise _broken(error, here, expected) from None
        yield line, _row(raw, here, expected)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            found = repr(text[at]) if at < len(text) else "the end of the file"
            problem = f"broken JSON: found {found} after an element of the array"
            raise _at(text, at, file).error(problem, "a comma or the end of the array, ]")
    if _skip(text, at + 1) < len(text):
        raise _at(text, at, file).error("something follows the end of the array", expected)


def _at(text: str, position: int, file: Path) -> RowLocation:
    return RowLocation(file, 1 + text.count("\n", 0, position))


def _broken_line(error: ValueError | RecursionError, text: str, here: RowLocation) -> DatasetError:
    """Like `_broken`, but names what people write in place of one object per line."""
    begins = text.strip().removeprefix("\ufeff")
    if not isinstance(error, json.JSONDecodeError):
        return _broken(error, here, ONE_OBJECT_A_LINE)
    if begins[0] not in "{[":
        problem = f"broken JSON: the line begins {begins[:20]!r}"
    elif error.pos >= len(text.rstrip()):
        problem = "broken JSON: it does not end on its line"
    else:
        return _broken(error, here, ONE_OBJECT_A_LINE)
    return here.error(problem, f"{ONE_OBJECT_A_LINE}, as json.dumps writes it without indent")


def _broken(error: ValueError | RecursionError, here: RowLocation, expected: str) -> DatasetError:
    if isinstance(error, json.JSONDecodeError):
        return here.error(f"broken JSON at column {error.colno}: {error.msg}", expected)
    if isinstance(error, RecursionError):
        return _too_deep(here)
    return here.error(str(error), "finite numbers of usual length, each key once")


def _too_deep(here: RowLocation) -> DatasetError:
    problem = f"the JSON is nested deeper than {DEEPEST} levels"
    return here.error(problem, "rows of texts, chats and a little metadata")


def _row(raw: Any, here: RowLocation, expected: str) -> dict[str, Any]:
    """The value, if it is an object and not nested too deep; looked at level by level."""
    level = [raw]
    for _ in range(DEEPEST):
        level = [
            each
            for value in level
            if isinstance(value, dict | list)
            for each in (value.values() if isinstance(value, dict) else value)
            if isinstance(each, dict | list)
        ]
        if not level:
            break
    else:
        raise _too_deep(here)
    if not isinstance(raw, dict):
        raise here.error(f"found a JSON {type(raw).__name__}", expected)
    return raw


def _skip(text: str, at: int) -> int:
    """The position of the next character that is not blank."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"an integer of {len(text):,} digits")
    return int(text)


def finite(text: str) -> float:
    """A number of JSON.

    Raises:
        ValueError: it is larger than any float.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the largest number")
    return number


def refuse_constant(text: str) -> Any:
    """Raises ValueError for NaN and infinities, which Python's reader of JSON would let pass."""
    raise ValueError(f"{text} is not a JSON number")


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # one of the values would be lost without a word
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return found


_DECODER = json.JSONDecoder(
    parse_int=_integer,
    parse_float=finite,
    parse_constant=refuse_constant,
    object_pairs_hook=_mapping,
)
