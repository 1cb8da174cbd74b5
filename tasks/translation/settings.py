"""Rows from the settings of a sweep: our hyperparameters, mapped columns, or trainers' arguments.

Sweepers (Optuna, Ray Tune) keep a mapping of names that their user chose. Where these are names of
our hyperparameters, or are mapped to them, they are taken; otherwise they are read as the arguments
of TRL's trainers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.translation.arguments import READ, config_of, stage_of
from tasks.translation.cells import CONFIG, is_field, typed
from tasks.translation.common import (
    NoRowError,
    Target,
    diverged_at,
    make_curve,
    make_row,
    number,
)
from tasks.translation.dialects import dialect_of, translated
from trials.spec.records import Stage

# Settings that are meant to change nothing of a configuration.
NEUTRAL = ("seed", "data_seed", "output_dir", "logging_dir", "run_name")


@dataclass
class Sweep:
    """What was set in the trials of a sweep, and what of it no row says.

    Attributes:
        target: what the rows are rows of.
        prefix: of the columns that the settings are in, before their names.
        passed: names of what is no setting of the sweep.
        unused: settings that fill no field.
        runs: configuration of every row, and the settings of its trial that fill no field.
    """

    target: Target
    prefix: str = ""
    passed: Iterable[str] = ()
    unused: set[str] = field(default_factory=set)
    runs: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def add(
        self, settings: Mapping[str, Any], config: Mapping[str, Any], used: Iterable[str]
    ) -> None:
        """Notes one trial whose settings became a configuration, some of them ``used`` in it."""
        known = {*used, *self.passed, *self.target.columns.values(), *self.target.ignore}
        unused = {
            name: value
            for name, value in settings.items()
            if not {name, f"{self.prefix}{name}"} & known
        }
        self.unused |= unused.keys()
        self.runs.append((dict(config), unused))

    def notes(self) -> list[str]:
        """What is to be said of settings that fill no field; nothing where all do."""
        if not self.unused:
            return []
        names = sorted(f"{self.prefix}{name}" for name in self.unused)
        notes = [
            f"settings that were not used: {', '.join(map(repr, names))}; --map uses one, as "
            f"--map config.NAME={names[0]}, where NAME is one of docs/hyperparameters.md"
        ]
        differing = self._differing()
        if differing:
            shown = ", ".join(repr(f"{self.prefix}{name}") for name in sorted(differing))
            notes.append(
                f"some rows have equal configurations, though their trials differed in {shown}: "
                "what these changed is taken for chance, so map them or leave these trials out"
            )
        return notes

    def _differing(self) -> set[str]:
        """Settings that fill no field and differ between rows of the same configuration."""
        values: dict[tuple[str, str], set[str]] = {}
        for config, unused in self.runs:
            same = json.dumps(config, sort_keys=True, default=str)
            for name in self.unused.difference(NEUTRAL):
                values.setdefault((same, name), set()).add(repr(unused.get(name)))
        return {name for (_, name), found in values.items() if len(found) > 1}


def settings_row(
    item: str,
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    sweep: Sweep,
    log: Sequence[Mapping[str, Any]] = (),
    score: tuple[str, float] = ("", 1.0),
) -> dict[str, Any]:
    """The row of one trial of a sweep.

    Args:
        item: names it in its source.
        settings: that it was run with.
        values: columns of its row.
        sweep: that it is a trial of; the columns of its target say which setting fills which field.
        log: entries with a ``step``; the last value of the score is the outcome.
        score: name of the metric in the log, and its sign.

    Raises:
        NoRowError: when its settings are not understood, or it has no score.
    """
    target = sweep.target
    mapped = {
        name: typed(name, settings[column], column)
        for name, column in target.columns.items()
        if name != "score" and settings.get(column) is not None
    }
    config, stage, used = configuration(settings, mapped, sweep)
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
    sweep.add(settings, config, used)
    return make_row(target, item, config=config, **row)


def configuration(
    settings: Mapping[str, Any], mapped: Mapping[str, Any], sweep: Sweep
) -> tuple[dict[str, Any], Stage, set[str]]:
    """Our flat configuration, the stage that its curve is of, and the settings that it is made of.

    Raises:
        NoRowError: when neither names nor the map say what was set.
    """
    target = sweep.target
    given = {f.removeprefix(CONFIG): v for f, v in mapped.items() if f.startswith(CONFIG)}
    own = {
        name.removeprefix(CONFIG): value
        for name, value in settings.items()
        if is_field(f"{CONFIG}{name.removeprefix(CONFIG)}") and name not in target.ignore
    }
    # Names that trainers and we have in common, as weight_decay, say nothing of whose they are.
    if given or any(name.startswith(("sft_", "dpo_", "rl_")) for name in own):
        values = {n: typed(f"{CONFIG}{n}", value) for n, value in own.items()} | given
        config = {name: value for name, value in values.items() if value is not None}
        used = {name for name in settings if name.removeprefix(CONFIG) in own}
        return config, target.stage or _longest(config), used
    arguments = translated({k: v for k, v in settings.items() if k not in target.ignore})
    if "learning_rate" not in arguments:
        raise NoRowError(
            f"its settings ({', '.join(sorted(arguments)[:20]) or 'none'}) are neither our "
            "hyperparameters nor a trainer's arguments: name them with --map, as "
            f"--map config.sft_learning_rate={sweep.prefix}lr, or give what is missing with "
            "--config FILE"
        )
    stage = stage_of(arguments, target.stage)
    steps = int(number(arguments.get("max_steps")) or 1)
    config = config_of(arguments, stage, max(steps, 1), None, target.processes)
    typed_config = {key: typed(f"{CONFIG}{key}", value) for key, value in config.items()}
    config = {key: value for key, value in typed_config.items() if value is not None}
    return config, stage, set(settings) if dialect_of(settings) else set(READ)


def _longest(config: Mapping[str, Any]) -> Stage:
    """The stage that a configuration gives most of its steps to."""
    sft, dpo = (number(config.get(f"{stage}_share")) for stage in ("sft", "dpo"))
    has = {name.partition("_")[0] for name in config}
    if "rl" in has and (sft or 0.0) + (dpo or 0.0) < 1.0:
        return "rl"
    return "dpo" if "dpo" in has and (dpo is None or dpo > 0) else "sft"
