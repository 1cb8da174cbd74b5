"""One run of a trainer, however it was recorded: arguments, log and end, made into a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.importers.arguments import config_of, stage_of
from tasks.importers.cells import CONFIG, typed
from tasks.importers.common import (
    NoRowError,
    Target,
    find_score,
    make_curve,
    make_row,
    number,
    positive,
)


@dataclass(frozen=True)
class Run:
    """What was recorded of a run.

    Attributes:
        item: names it in its source.
        arguments: of the trainer.
        log: entries with a ``step`` and values, in order; the last one may be the summary.
        reached: optimizer steps it took; None: the last step of the log.
        planned: steps it was meant to take; None: those that the arguments say, else ``reached``.
        interrupted: whether it ended before its time.
        adapter: PEFT's settings, when saved.
        values: other columns of its row; ``config.*`` go before what the arguments say.
    """

    item: str
    arguments: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    reached: int | None = None
    planned: int | None = None
    interrupted: bool = False
    adapter: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def row_of(run: Run, target: Target, metrics: Counter[tuple[str, float]]) -> dict[str, Any]:
    """The history row of a run; ``metrics`` counts what its score is.

    Raises:
        NoRowError: when it has no score, or its configuration is not known.
    """
    reached, planned = _steps(run)
    stage = stage_of(run.arguments, target.stage)
    evaluated = {name for entry in run.log for name, v in entry.items() if number(v) is not None}
    best = (run.arguments.get(each) for each in ("metric_for_best_model", "greater_is_better"))
    name, sign = find_score(evaluated - {"step", "epoch"}, target.score, *best)
    sign = -1.0 if target.minimize else sign
    config = config_of(run.arguments, stage, planned, run.adapter, target.processes)
    values = dict(run.values)
    config |= {
        key.removeprefix(CONFIG): values.pop(key) for key in list(values) if key.startswith(CONFIG)
    }
    config = {key: typed(f"{CONFIG}{key}", value) for key, value in config.items()}
    fraction = min(1.0, reached / planned)
    row = make_row(
        target,
        run.item,
        **{
            "config": {key: value for key, value in config.items() if value is not None},
            "state": "stopped" if fraction < 1 or run.interrupted else "completed",
            "fraction": fraction,
            "score": sign * _last(run.log, name),
            "cost_seconds": _total(run.log, "train_runtime"),
            "cost_flops": _total(run.log, "total_flos"),
            "cost_tokens": _total(run.log, "num_tokens"),
            "seed": number(run.arguments.get("seed")),
            "total_steps": planned,
            "curve": make_curve(run.log, stage, name, sign),
        }
        | values,
    )
    metrics[name, sign] += 1
    return row


def _steps(run: Run) -> tuple[int, int]:
    logged = [int(step) for entry in run.log if (step := number(entry.get("step"))) is not None]
    reached = run.reached or max(logged, default=0)
    if reached < 1:
        raise NoRowError("it took no step")
    planned = run.planned or int(number(run.arguments.get("max_steps")) or 0)
    # -1 is "as many as the epochs have"; then only the steps that it took are known.
    return reached, planned if planned > 0 else reached


def _last(log: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [value for entry in log if (value := number(entry.get(name))) is not None]
    return values[-1]


def _total(log: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The last value of what counts up, under its own name or with the prefix of a tracker."""
    for entry in reversed(log):
        for key in (name, f"train/{name}"):
            if (found := positive(entry.get(key))) is not None:
                return found
    return None
