"""Errors meant for people, with secrets of the environment left out of what they say.

AutoPipeError
├── CatalogError          a catalog name, entry or file cannot be used (tasks/inputs)
├── DatasetError          a dataset folder or file cannot be used; names file, line, found, expected
├── FileError             a file cannot be read or written: permissions, a full or read-only disk
├── HyperparameterError   a configuration was refused before launch; lists every problem at once
├── Locked                another process works on the same run or folder (tasks/sync)
├── MeasurementFailed     a measurement has neither an answer nor a refusal (trials/process)
├── ModelError            a model cannot be loaded or used
├── RecordError           a file that AutoPipe wrote is damaged
├── RewardError           a reward is unknown, unavailable or not allowed
│   └── RewardFailed      a reward raised, or returned something that is not a score
├── SettingsError         the settings of a run contradict each other
├── StoreError            shared storage cannot be reached (tasks/sync)
└── VersionStoreError     DVC cannot keep or fetch a version (tasks/versioning)

The search can be used without any of this, so its errors have a root of their own:
``surrogates.core.base.SurrogateError``.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

from trials.io.redact import redacted


def _writable(text: str) -> str:
    return redacted(text.encode("utf-8", "backslashreplace").decode())


FILE_HINTS = {
    errno.ENOSPC: "make space on that disk",
    errno.EDQUOT: "make space within your quota",
    errno.EROFS: "the disk is read-only: mount it for writing, or name another workspace in "
    "AUTOPIPE_HOME",
    errno.EACCES: "you may not: change the owner or the mode of the file or its folder, or name "
    "another workspace in AUTOPIPE_HOME",
    errno.EPERM: "you may not: change the owner or the mode of the file or its folder",
    errno.EISDIR: "a folder is where a file belongs: move it away",
    errno.ENOTDIR: "a file is where a folder belongs: move it away",
    errno.EEXIST: "a file is where a folder belongs: move it away",
    errno.ENAMETOOLONG: "use a shorter path",
}


class AutoPipeError(Exception):
    """Base of every error that is meant for the person at the keyboard.

    What it says is shown, logged and kept by Prefect, so secrets of the environment are left out,
    and bytes of file names that are not UTF-8 become escapes, for they could not be written.
    """

    def __init__(self, *args: object):
        super().__init__(*(_writable(each) if isinstance(each, str) else each for each in args))

    def __reduce__(self) -> tuple[object, ...]:
        # From another process it comes as it was, whatever its class was made from.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[AutoPipeError], args: tuple[object, ...], attributes: dict[str, object]
) -> AutoPipeError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DatasetError(AutoPipeError):
    """A dataset cannot be used: what was found, where (lines count from 1), what was expected."""

    def __init__(self, problem: str, *, path: object, line: int | None = None, expected: str = ""):
        self.problem, self.path, self.line, self.expected = problem, path, line, expected
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {problem}" + (f"\n  expected: {expected}" if expected else ""))


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


class HyperparameterError(AutoPipeError):
    """One or more hyperparameters were refused; ``problems`` holds one line for each."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        head = f"{len(problems)} problem{'s' * (len(problems) > 1)} in the configuration:"
        super().__init__("\n  - ".join([head, *problems]))


class RewardError(AutoPipeError):
    """A reward is unknown, unavailable or not allowed."""


class RewardFailed(RewardError):
    """A reward raised an exception, or did not return a finite number, while it was used."""


class ModelError(AutoPipeError):
    """A model or its tokenizer cannot be loaded or used."""


class FileError(AutoPipeError, OSError):
    """A file cannot be read or written; an OSError too, for who goes on without it."""

    def __init__(self, verb: str, path: object, error: OSError):
        reason = error.strerror or str(error) or type(error).__name__
        hint = FILE_HINTS.get(error.errno or 0, "look whether the disk is there and you may use it")
        super().__init__(f"cannot {verb} {path}: {reason}\n  {hint}; then repeat the command")
        self.errno = error.errno


class RecordError(AutoPipeError, ValueError):
    """A file that AutoPipe wrote is damaged: where (lines count from 1), how, and the remedy."""

    def __init__(self, path: object, found: str, remedy: str, line: int | None = None):
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {found}\n  {remedy}")


class SettingsError(AutoPipeError):
    """The settings of a run contradict each other or what was found on disk."""
