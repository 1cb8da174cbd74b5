"""What can go wrong before or inside a trial.

AutoPipeError
├── DatasetError          a dataset folder or file cannot be used; names file, line, found, expected
├── HyperparameterError   a configuration was refused before launch; lists every problem at once
├── RewardError           a reward is unknown, unavailable or not allowed
│   └── RewardFailed      a reward raised, or returned something that is no score
├── ModelError            a model cannot be loaded or used
└── SettingsError         the settings of a run contradict each other
"""

from __future__ import annotations

from trials.redact import redacted


def _writable(text: str) -> str:
    return redacted(text.encode("utf-8", "backslashreplace").decode())


class AutoPipeError(Exception):
    """Base of every error that is meant for the person at the keyboard.

    What it says is shown, logged and kept by Prefect, so secrets of the environment are left out,
    and bytes of file names that are not UTF-8 become escapes, for they could not be written.
    """

    def __init__(self, *args: object):
        super().__init__(*(_writable(each) if isinstance(each, str) else each for each in args))


class DatasetError(AutoPipeError):
    """A dataset cannot be used.

    Args:
        problem: what was found.
        path: the file it was found in.
        line: 1-based line number, or None when the whole file is meant.
        expected: what was expected instead.
    """

    def __init__(self, problem: str, *, path: object, line: int | None = None, expected: str = ""):
        self.problem, self.path, self.line, self.expected = problem, path, line, expected
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {problem}" + (f"\n  expected: {expected}" if expected else ""))


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


class SettingsError(AutoPipeError):
    """The settings of a run contradict each other or what was found on disk."""
