"""One run of a trainer, however it was recorded: arguments, log and end, made into a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.translation.arguments import config_of, stage_of
from tasks.translation.cells import CONFIG, typed
from tasks.translation.common import (
    NoRowError,
    Target,
    diverged_at,
    find_score,
    is_not_finite,
    make_curve,
    make_row,
    number,
    positive,
)
from tasks.translation.dialects import translated


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
    arguments = translated(run.arguments)
    stage = stage_of(arguments, target.stage)
    name, sign, broken = _score_of(run, arguments, target)
    config = config_of(arguments, stage, planned, run.adapter, target.processes)
    values = dict(run.values)
    config |= {
        key.removeprefix(CONFIG): values.pop(key) for key in list(values) if key.startswith(CONFIG)
    }
    config = {key: typed(f"{CONFIG}{key}", value) for key, value in config.items()}
    fraction = min(1.0, (reached if broken is None else max(1, broken)) / planned)
    row = make_row(
        target,
        run.item,
        **{
            "config": {key: value for key, value in config.items() if value is not None},
            **_ending(fraction, run, broken),
            "fraction": fraction,
            "score": None if broken is not None else sign * _last(run.log, name),
            "cost_seconds": _total(run.log, "train_runtime"),
            "cost_flops": _total(run.log, "total_flos"),
            "cost_tokens": _total(run.log, "num_tokens"),
            "seed": number(arguments.get("seed")),
            "total_steps": planned,
            "curve": make_curve(run.log, stage, name, sign),
        }
        | values,
    )
    if broken is not None:  # whatever a column says
        return row | {"score": None, **_ending(fraction, run, broken)}
    metrics[name, sign] += 1
    return row


def _score_of(
    run: Run, arguments: Mapping[str, Any], target: Target
) -> tuple[str, float, int | None]:
    """The metric that is the score, its sign, and the step at which the run diverged, or None.

    Raises:
        NoRowError: when it has no score, and did not diverge.
    """
    given = {n for entry in run.log for n, v in entry.items() if number(v) is not None}
    seen = given | {n for entry in run.log for n, v in entry.items() if is_not_finite(v)}
    best, greater = (arguments.get(n) for n in ("metric_for_best_model", "greater_is_better"))
    try:
        name, sign = find_score(seen - {"step", "epoch"}, target.score, best, greater)
    except NoRowError:
        broken = diverged_at(run.log)
        if broken is None:
            _refuse_text(run.log, target.score)
            raise
        return "", 1.0, broken  # it failed before it was evaluated
    return name, -1.0 if target.minimize else sign, diverged_at(run.log, name)


def _refuse_text(log: Sequence[Mapping[str, Any]], wanted: str | None) -> None:
    """Says so of an evaluation that is there, but as text, such as 50% or 0,5.

    Args:
        log: entries with values.
        wanted: the metric that is to be the score; None, any evaluation.
    """
    for entry in log:
        for name, value in entry.items():
            asked = name.startswith("eval") if wanted is None else name == wanted.removeprefix("-")
            text = isinstance(value, str) and value.strip() and number(value) is None
            if asked and text and not is_not_finite(value):
                raise NoRowError(f"{name}: expected a number such as 0.5, found {value[:40]!r}")


def _ending(fraction: float, run: Run, broken: int | None) -> dict[str, Any]:
    if broken is not None:
        return {"state": "failed", "failure_kind": "diverged"}
    return {"state": "stopped" if fraction < 1 or run.interrupted else "completed"}


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
