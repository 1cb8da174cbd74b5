"""One run of a trainer, however it was recorded: its arguments, log and end become a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.translation.arguments import config_from_arguments, infer_stage
from tasks.translation.cells import parse_cell
from tasks.translation.dialects import to_trl_arguments
from tasks.translation.metrics import divergence_step, find_score, make_curve, values_of
from tasks.translation.results import CONFIG, ImportOptions, Row, RowError, Score, make_row
from tasks.translation.values import finite_number, is_nonfinite, positive_number

DIVERGED = {"state": "failed", "failure_kind": "diverged", "score": None}


@dataclass(frozen=True)
class RecordedRun:
    """A run as its tracker or trainer recorded it.

    Attributes:
        item: its name in its source.
        arguments: of the trainer, without those set by the import's options.
        log: entries with a ``step`` and values, in order; the last one may be the summary.
        reached: optimizer steps it took; None: the last step of the log.
        planned: steps it was meant to take; None: those that the arguments say, else ``reached``.
        interrupted: it ended before its time.
        adapter: PEFT's settings, when saved.
        values: other columns of its row; those of the configuration precede the arguments.
    """

    item: str
    arguments: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    reached: int | None = None
    planned: int | None = None
    interrupted: bool = False
    adapter: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def run_row(run: RecordedRun, options: ImportOptions) -> tuple[Row, Score]:
    """A run's row and the metric of its score; a RowError without a score or a configuration."""
    given = {**run.arguments, **options.shared_arguments}
    reached, planned = _steps(run, given.get("max_steps"))
    arguments = to_trl_arguments(given)
    stage = infer_stage(arguments, options.stage)
    metric, sign, diverged = _score_of(run, arguments, options)
    config = config_from_arguments(arguments, stage, planned, run.adapter, options.processes)
    columns = {f"{CONFIG}{name}": value for name, value in config.items()} | {**run.values}
    typed = {name: parse_cell(name, v) for name, v in columns.items() if name.startswith(CONFIG)}
    fraction = min(1.0, (reached if diverged is None else max(1, diverged)) / planned)
    values = {
        "state": "stopped" if fraction < 1 or run.interrupted else "completed",
        "fraction": fraction,
        "score": None if diverged is not None else sign * values_of(run.log, metric)[-1],
        "cost_seconds": _total(run.log, "train_runtime"),
        "cost_flops": _total(run.log, "total_flos"),
        "cost_tokens": _total(run.log, "num_tokens"),
        "seed": finite_number(arguments.get("seed")),
        "total_steps": planned,
        "curve": make_curve(run.log, stage, metric, sign),
        **{name: value for name, value in columns.items() if name not in typed},
        **{name: value for name, value in typed.items() if value is not None},
    }
    if diverged is not None:  # whatever a column says
        values |= DIVERGED
    return make_row(options, run.item, values), (metric, sign)


def _score_of(
    run: RecordedRun, arguments: Mapping[str, Any], options: ImportOptions
) -> tuple[str, float, int | None]:
    """The metric that is the score, its sign, and the step at which the run diverged, or None."""
    names = {
        name
        for entry in run.log
        for name, value in entry.items()
        if finite_number(value) is not None or is_nonfinite(value)
    }
    best, greater = (arguments.get(n) for n in ("metric_for_best_model", "greater_is_better"))
    try:
        name, sign = find_score(names - {"step", "epoch"}, options.score, best, greater)
    except RowError:
        diverged = divergence_step(run.log)
        if diverged is None:
            _reject_text(run.log, options.score)
            raise
        return "", 1.0, diverged  # it failed before it was evaluated
    return name, -1.0 if options.minimize else sign, divergence_step(run.log, name)


def _reject_text(log: Sequence[Mapping[str, Any]], wanted: str | None) -> None:
    """Rejects the wanted metric, or any evaluation, that is text such as 50% or 0,5."""
    for entry in log:
        for name, value in entry.items():
            asked = name.startswith("eval") if wanted is None else name == wanted.removeprefix("-")
            text = isinstance(value, str) and value.strip() and finite_number(value) is None
            if asked and text and not is_nonfinite(value):
                raise RowError(f"{name}: expected a number such as 0.5, found {value[:40]!r}")


def _steps(run: RecordedRun, max_steps: Any) -> tuple[int, int]:
    """Steps that a run took, and that it was planned to take."""
    reached = run.reached or int(max(values_of(run.log, "step"), default=0))
    if reached < 1:
        raise RowError("it took no step")
    planned = run.planned or int(finite_number(max_steps) or 0)
    # -1 is "as many as the epochs have"; then only the steps that it took are known.
    return reached, planned if planned > 0 else reached


def _total(log: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The last value of a running total, under its own name or with the prefix of a tracker."""
    keys = (name, f"train/{name}")
    found = (positive_number(entry.get(key)) for entry in reversed(log) for key in keys)
    return next((value for value in found if value is not None), None)
