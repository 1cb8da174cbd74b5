"""Rows from the settings of a sweep: our hyperparameters, mapped columns, or trainers' arguments.

Sweepers (Optuna, Ray Tune) keep a mapping of names that their user chose. Where these are names of
our hyperparameters, or are mapped to them, they are taken; otherwise they are read as the arguments
of TRL's trainers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.importers.arguments import config_of, stage_of
from tasks.importers.cells import CONFIG, is_field, typed
from tasks.importers.common import (
    NoRowError,
    Target,
    diverged_at,
    make_curve,
    make_row,
    number,
)
from tasks.importers.dialects import translated
from trials.records import Stage


def settings_row(
    item: str,
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    target: Target,
    log: Sequence[Mapping[str, Any]] = (),
    score: tuple[str, float] = ("", 1.0),
) -> dict[str, Any]:
    """The row of one trial of a sweep.

    Args:
        item: names it in its source.
        settings: that it was run with.
        values: columns of its row.
        target: what it is a row of; its columns say which setting fills which field.
        log: entries with a ``step``; the last value of the score is the outcome.
        score: name of the metric in the log, and its sign.

    Raises:
        NoRowError: when its settings are not understood, or it has no score.
    """
    mapped = {
        field: typed(field, settings[column], column)
        for field, column in target.columns.items()
        if field != "score" and settings.get(column) is not None
    }
    config, stage = configuration(settings, mapped, target)
    row = {**values, **{f: v for f, v in mapped.items() if not f.startswith(CONFIG)}}
    name, sign = score
    sign = -1.0 if target.minimize else sign
    if log:
        row["curve"] = make_curve(log, stage, name, sign)
        told = [found for entry in log if (found := number(entry.get(name))) is not None]
        broken = diverged_at(log, name)
        if broken is not None:
            row |= {"state": "failed", "failure_kind": "diverged", "score": None}
        elif told:
            row["score"] = sign * told[-1]
        else:
            raise NoRowError(f"{name} has no value")
    return make_row(target, item, config=config, **row)


def configuration(
    settings: Mapping[str, Any], mapped: Mapping[str, Any], target: Target
) -> tuple[dict[str, Any], Stage]:
    """Our flat configuration, and the stage that its curve is of.

    Raises:
        NoRowError: when neither names nor the map say what was set.
    """
    given = {f.removeprefix(CONFIG): v for f, v in mapped.items() if f.startswith(CONFIG)}
    own = {
        name.removeprefix(CONFIG): value
        for name, value in settings.items()
        if is_field(f"{CONFIG}{name.removeprefix(CONFIG)}") and name not in target.ignore
    }
    # Names that trainers and we have in common, as weight_decay, say nothing of whose they are.
    telling = {name for name in own if name.startswith(("sft_", "dpo_", "rl_"))} | set(given)
    if telling:
        values = {n: typed(f"{CONFIG}{n}", value) for n, value in own.items()} | given
        config = {name: value for name, value in values.items() if value is not None}
        return config, target.stage or _longest(config)
    arguments = translated({k: v for k, v in settings.items() if k not in target.ignore})
    if "learning_rate" not in arguments:
        raise NoRowError(
            f"its settings ({', '.join(sorted(arguments)[:20]) or 'none'}) are neither our "
            "hyperparameters nor a trainer's arguments: name them with --map, as "
            "--map config.sft_learning_rate=lr, or give what is missing with --config FILE"
        )
    stage = stage_of(arguments, target.stage)
    steps = int(number(arguments.get("max_steps")) or 1)
    config = config_of(arguments, stage, max(steps, 1), None, target.processes)
    typed_config = {key: typed(f"{CONFIG}{key}", value) for key, value in config.items()}
    return {key: value for key, value in typed_config.items() if value is not None}, stage


def _longest(config: Mapping[str, Any]) -> Stage:
    """The stage that a configuration gives most of its steps to."""
    sft, dpo = (number(config.get(f"{stage}_share")) for stage in ("sft", "dpo"))
    has = {name.partition("_")[0] for name in config}
    if "rl" in has and (sft or 0.0) + (dpo or 0.0) < 1.0:
        return "rl"
    return "dpo" if "dpo" in has and (dpo is None or dpo > 0) else "sft"
