"""What all importers share: where rows go, how they are made, and which metric is the score."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tasks.history import pack_curve
from trials.errors import SettingsError
from trials.events import CURVE_METRICS
from trials.records import CurvePoint, Stage

# Evaluation metrics that are scores, higher is better, in the order in which they are looked for.
SCORES = ("accuracy", "exact_match", "score", "pass@1", "reward", "rewards/accuracies")


@dataclass(frozen=True)
class Target:
    """What the imported rows are rows of, and how their sources are to be read.

    Attributes:
        name: of the import, which is the ``run_id`` of its rows.
        dataset_id, model_id: what was trained on, and from; None where columns say it.
        fingerprint: of the dataset's content; None: only its name is known.
        score: metric that is the score, with a minus sign where lower is better; None: is looked
            for.
        stage: of runs whose arguments do not tell it.
        config: file with the arguments of runs that saved none.
        processes: devices that shared a batch.
        columns: from our fields to columns of a table.
    """

    name: str
    dataset_id: str | None = None
    model_id: str | None = None
    fingerprint: str | None = None
    score: str | None = None
    stage: Stage | None = None
    config: Path | None = None
    processes: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """An item of a source that gave no row, and why."""

    item: str
    reason: str


@dataclass
class Imported:
    """Rows in the form of data/history/README.md, and what gave none."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def add(self, item: str, made: dict[str, Any] | str) -> None:
        """Adds a row, or the reason for which there is none."""
        if isinstance(made, str):
            self.refused.append(Refused(item, made))
        else:
            self.rows.append(made)


class NoRowError(Exception):
    """An item of a source gives no row; the message says why."""


def make_row(target: Target, item: str, **values: Any) -> dict[str, Any]:
    """One row of an import; ``values`` are other columns, among them ``config``, a mapping."""
    dataset = values.pop("dataset_id", None) or target.dataset_id
    model = values.pop("model_id", None) or target.model_id
    config = values.pop("config", {})
    return {
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


def find_score(available: Iterable[str], wanted: str | None, best: Any = None) -> tuple[str, float]:
    """The metric that is the score, and its sign.

    Args:
        available: names of what was evaluated.
        wanted: as the user has it, or None.
        best: ``metric_for_best_model`` of the arguments.

    Raises:
        NoRowError: when there is none, naming what there is.
    """
    names = sorted(available)
    if wanted is not None:
        sign, name = (-1.0, wanted[1:]) if wanted.startswith("-") else (1.0, wanted)
        if name in names:
            return name, sign
        raise NoRowError(f"no metric {name}; found: {', '.join(names) or 'none'}")
    plain = {
        name.removeprefix("eval").lstrip("_/"): name for name in names if name.startswith("eval")
    }
    best = str(best or "").removeprefix("eval_")
    candidates = SCORES if not best or best.endswith("loss") else (best, *SCORES)
    found = next((plain[name] for name in candidates if name in plain), None)
    if found is None:
        raise NoRowError(
            f"no score among its metrics ({', '.join(plain.values()) or 'no evaluation'}): "
            "name one with --score, as --score eval_x, or --score=-eval_loss where lower is better"
        )
    return found, 1.0


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


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def positive(value: Any) -> float | None:
    """A number above zero, or None: trackers write 0 for what they did not measure."""
    found = number(value)
    return found if found is not None and found > 0 else None


def parsed(text: Any) -> Any:
    """A value of which only the text was kept, as ``1e-05``, ``True``, ``None`` or ``['a']``."""
    if not isinstance(text, str):
        return text
    for parse in (json.loads, ast.literal_eval):
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
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: expected names and values, found {type(content).__name__}")
    return {str(name): parsed(value) for name, value in content.items()}
