"""What all importers share: where rows go, how they are made, and which metric is the score."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.history.curves import pack_curve
from trials.io.errors import SettingsError
from trials.io.hashing import content_hash
from trials.io.plain_yaml import parse_yaml
from trials.io.problems import meant
from trials.spec.events import CURVE_METRICS
from trials.spec.records import CurvePoint, Stage

# Evaluation metrics that are scores, higher is better, in the order in which they are looked for.
SCORES = (
    *("accuracy", "exact_match", "score", "pass@1", "reward", "rewards/accuracies"),
    *("mean_accuracy", "mean_reward"),  # as sweepers call them
)
DIGEST_DIGITS = 10
LONGEST_REASON = 1000  # characters
LONGEST_VALUE = 2000  # characters of a setting
MOST_BYTES = 20_000_000  # of a file of arguments, or of the state of a trainer
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
# Names under which a loss is logged; where the last one is no number, the run diverged.
LOSSES = ("loss", "train_loss", "eval_loss", "grad_norm")


@dataclass(frozen=True)
class Target:
    """What the imported rows are rows of, and how their sources are to be read.

    Attributes:
        name: of the import, which is the ``run_id`` of its rows.
        dataset_id, model_id: what was trained on, and from; None where columns say it.
        fingerprint: of the dataset's content; None: only its name is known.
        score: metric that is the score, with a minus sign where lower is better; None: is looked
            for.
        minimize: whether lower is better, whatever the score is called.
        stage: of runs whose arguments do not tell it.
        config: file with the arguments of runs that saved none.
        processes: devices that shared a batch.
        columns: from our fields to columns of a table.
        ignore: columns and settings that are passed over, whatever they are called.
    """

    name: str
    dataset_id: str | None = None
    model_id: str | None = None
    fingerprint: str | None = None
    score: str | None = None
    minimize: bool = False
    stage: Stage | None = None
    config: Path | None = None
    processes: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Refused:
    """An item of a source that gave no row, and why."""

    item: str
    reason: str


class NoRowError(Exception):
    """An item of a source gives no row; the message says why."""


@dataclass
class Imported:
    """Rows in the form of data/history/README.md, and what gave none.

    Attributes:
        rows: that were made.
        refused: items that gave none.
        notes: what else is to be said of the source.
        places: of rows in their source, by ``trial_id``.
        metrics: how many rows have which metric as their score, with its sign.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    metrics: Counter[tuple[str, float]] = field(default_factory=Counter)

    def attempt(self, item: str, make: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        """Adds the row that ``make`` gives; an item that it cannot read is refused, and no more."""
        try:
            row = make(*arguments)
        except (NoRowError, SettingsError) as error:
            reason = str(error)
        except UnicodeError as error:
            reason = f"cannot be understood: a file of it is not in UTF-8 ({error})"
        except RecursionError:
            reason = "cannot be understood: it is nested too deeply"
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            reason = f"cannot be understood: {type(error).__name__}: {error}"
        else:
            self.rows.append(row)
            self.places[str(row["trial_id"])] = item
            return
        # It may quote what was found, which may be of any length.
        short = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
        self.refused.append(Refused(item, short))


def make_row(target: Target, item: str, **values: Any) -> dict[str, Any]:
    """One row of an import; ``values`` are other columns, among them ``config``, a mapping."""
    dataset = values.pop("dataset_id", None) or target.dataset_id
    model = values.pop("model_id", None) or target.model_id
    config = values.pop("config", {})
    row = {
        "run_id": target.name,
        "trial_id": f"{target.name}/{dataset}/{item}",
        "dataset_id": dataset,
        # A name is known and no content: another form than that of a hash, so never equal to one.
        "dataset_fingerprint": target.fingerprint or (f"name:{dataset}" if dataset else None),
        "model_id": model,
        "state": "completed",
        "fraction": 1.0,
        "continued": False,
        **values,
        **{f"config.{name}": value for name, value in sorted(config.items())},
    }
    return {name: _writable(value) for name, value in row.items()}


def _writable(value: Any) -> Any:
    """The value; of text that is no Unicode, as names of files may be, what can be written."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def number_by_content(row: Mapping[str, Any], same: Counter[str]) -> dict[str, Any]:
    """A row whose ``trial_id`` ends in a hash of its values.

    The same line has the same id wherever it is in its file, and another line another one.

    Args:
        row: whose ``trial_id`` is not unique.
        same: how often each id was given; rows that are equal are counted.
    """
    content = sorted(
        (name, float(value) if isinstance(value, int) else value)
        for name, value in row.items()
        if name not in ("run_id", "trial_id") and value is not None
    )
    digest = content_hash(json.dumps(content, default=str), digits=DIGEST_DIGITS)
    name = f"{row['trial_id']}-{digest}"
    same[name] += 1
    return {**row, "trial_id": name if same[name] == 1 else f"{name}-{same[name]}"}


def find_score(
    available: Iterable[str],
    wanted: str | None,
    best: Any = None,
    greater_is_better: Any = None,
    anywhere: bool = False,
) -> tuple[str, float]:
    """The metric that is the score, and its sign, which is minus where lower is better.

    Lower is better where the user has a minus sign before the name, where the arguments say so of
    the metric for the best model, and for a loss.

    Args:
        available: names of what was evaluated.
        wanted: as the user has it, or None.
        best: ``metric_for_best_model`` of the arguments.
        greater_is_better: of the arguments, of that metric.
        anywhere: whether metrics need no prefix of evaluations, as a sweeper's have none.

    Raises:
        NoRowError: when there is none, naming what there is.
    """
    names = sorted(available)
    best = plain_metric(str(best or ""))
    lowest = best if str(greater_is_better).lower() == "false" else None
    if wanted is not None:
        name = wanted.removeprefix("-")
        low = wanted.startswith("-") or plain_metric(name) == lowest or name.endswith("loss")
        if name in names:
            return name, -1.0 if low else 1.0
        raise NoRowError(
            f"no metric {name}{meant(name, names)}; found: {', '.join(names) or 'none'}"
        )
    plain = {plain_metric(name): name for name in names if name.startswith("eval")}
    if anywhere:
        plain = {plain_metric(name): name for name in names} | plain
    candidates = SCORES if not best or best.endswith("loss") else (best, *SCORES)
    found = next((name for name in candidates if name in plain), None)
    if found is None:
        raise NoRowError(
            f"no score among its metrics ({', '.join(plain.values()) or 'no evaluation'}): "
            "name one with --score, as --score eval_x, or --score=-eval_loss where lower is better"
        )
    return plain[found], -1.0 if found == lowest else 1.0


def plain_metric(name: str) -> str:
    """A metric's name without the prefix of evaluations, as ``eval_`` or ``eval/``."""
    return re.sub(r"^eval[_/]", "", name)


def make_curve(log: Iterable[Mapping[str, Any]], stage: Stage, score: str, sign: float) -> str:
    """The packed curve of logged entries, each with a ``step``; evaluations become ``score``."""
    points: dict[tuple[str, int], float] = {}
    for entry in log:
        step = number(entry.get("step"))
        if step is None or step < 1:
            continue
        for name, value in entry.items():
            given = number(value)
            if given is None:
                continue
            if name == score:
                points["score", int(step)] = sign * given
            elif name.removeprefix("train/") in CURVE_METRICS:
                # The last value of a step: a run that was resumed logs some steps again.
                points[CURVE_METRICS[name.removeprefix("train/")], int(step)] = given
    return pack_curve(
        [
            CurvePoint(stage=stage, step=step, metric=metric, value=value)
            for (metric, step), value in sorted(points.items(), key=lambda point: point[0][1])
        ]
    )


def diverged_at(log: Iterable[Mapping[str, Any]], *scores: str) -> int | None:
    """The step from which on a loss or a score is no finite number, to the end; None if none is.

    A mixed-precision run skips a step with an infinite gradient now and then: what counts is how
    the log of each value ends.
    """
    first: dict[str, int] = {}
    for entry in log:
        step = int(number(entry.get("step")) or 0)
        for name, value in entry.items():
            bare = plain_metric(name.removeprefix("train/")) if name not in scores else name
            if name not in scores and bare not in LOSSES and plain_metric(bare) != "loss":
                continue
            if is_not_finite(value):
                first.setdefault(name, step)
            elif number(value) is not None:
                first.pop(name, None)
    return min(first.values(), default=None)


def with_nan(log: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A log with NaN where JSON has null, as some write it: for a loss, and what was a number."""
    numbers: set[str] = {name for name in LOSSES if name != "grad_norm"}  # which some never know
    told = []
    for entry in log:
        numbers |= {name for name, value in entry.items() if number(value) is not None}
        told.append(
            {
                name: math.nan if value in (None, "null") and name in numbers else value
                for name, value in entry.items()
            }
        )
    return told


def is_not_finite(value: Any) -> bool:
    """Whether a value is NaN or infinite, also as text: JSON has no such numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return not math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def seconds_of(value: Any) -> float | None:
    """A duration in seconds, also where it was written as ``0 days 00:04:22.3``; None if empty."""
    if value is None or number(value) is not None:
        return positive(value)
    try:
        return positive(pd.Timedelta(str(value)).total_seconds())
    except (ValueError, OverflowError):
        return None


def positive(value: Any) -> float | None:
    """A number above zero, or None: trackers write 0 for what they did not measure."""
    found = number(value)
    return found if found is not None and found > 0 else None


def parsed(text: Any) -> Any:
    """A value of which only the text was kept, as ``1e-05``, ``True``, ``None`` or ``['a']``."""
    if not isinstance(text, str) or DECIMAL_COMMA.fullmatch(text.strip()):
        return text  # 0,5 would become the pair of 0 and 5
    # A long text is no value that was set; the parser of Python's own literals may crash on one.
    for parse in (json.loads, ast.literal_eval) if len(text) <= LONGEST_VALUE else ():
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text.strip()


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds a mapping.

    Raises:
        SettingsError: when it cannot be read, or holds something else.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{file} cannot be read: it has more than {MOST_BYTES:,} bytes")
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix == ".json" else parse_yaml(text)
    except RecursionError:
        raise SettingsError(f"{file} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: expected names and values, found {type(content).__name__}")
    return {str(name): parsed(value) for name, value in content.items()}
