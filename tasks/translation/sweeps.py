"""Trials of a sweep: settings under our names, mapped columns, or the arguments of a trainer.

Sweepers (Optuna, Ray Tune) keep names that their user chose. Those that are neither names of our
hyperparameters nor mapped to them are read as the arguments of TRL's trainers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.translation.arguments import READ_ARGUMENTS, config_from_arguments, infer_stage
from tasks.translation.cells import is_field, parse_cell
from tasks.translation.dialects import detect_dialect, to_trl_arguments
from tasks.translation.metrics import divergence_step, make_curve, values_of
from tasks.translation.results import CONFIG, ImportOptions, Row, RowError, Score, make_row
from tasks.translation.runs import DIVERGED
from tasks.translation.values import finite_number
from trials.spec.kinds import Stage

# Settings that are meant to change nothing of a configuration.
NEUTRAL_SETTINGS = ("seed", "data_seed", "output_dir", "logging_dir", "run_name")


@dataclass
class Sweep:
    """The trials of a sweep, and those of their settings that no row holds.

    Attributes:
        prefix: of the columns that the settings are in, before their names.
        expected: names of values that may go unused, as they are not settings of the sweep.
        trials: configuration of every row, and the settings of its trial that fill no field.
    """

    options: ImportOptions
    prefix: str = ""
    expected: Iterable[str] = ()
    trials: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def row(
        self,
        item: str,
        settings: Mapping[str, Any],
        values: Mapping[str, Any],
        log: Sequence[Mapping[str, Any]] = (),
        score: Score = ("", 1.0),
    ) -> tuple[Row, Score]:
        """The row of one trial, and the metric that is its score.

        In a log, whose entries have a ``step``, the last value of the score is the outcome.

        Raises:
            RowError: when its settings are not understood, or it has no score.
        """
        mapped = {
            name: parse_cell(name, settings[column], column)
            for name, column in self.options.columns.items()
            if name != "score" and settings.get(column) is not None
        }
        config, stage, used = self._configuration(settings, mapped)
        row = {**values, **{f: v for f, v in mapped.items() if not f.startswith(CONFIG)}}
        metric, sign = score
        if log:
            row["curve"] = make_curve(log, stage, metric, sign)
            measured = values_of(log, metric)
            if divergence_step(log, metric) is not None:
                row |= DIVERGED
            elif measured:
                row["score"] = sign * measured[-1]
            else:
                raise RowError(f"{metric} has no value")
        known = {*used, *self.expected, *self.options.columns.values(), *self.options.ignore}
        unused = {
            name: value
            for name, value in settings.items()
            if not {name, f"{self.prefix}{name}"} & known
        }
        self.trials.append((config, unused))
        row |= {f"{CONFIG}{name}": value for name, value in config.items()}
        return make_row(self.options, item, row), score

    def notes(self) -> list[str]:
        """Remarks on settings that fill no field; empty where all do."""
        names = {name for _, unused in self.trials for name in unused}
        if not names:
            return []
        shown = [f"{self.prefix}{name}" for name in sorted(names)]
        notes = [
            f"settings that were not used: {', '.join(map(repr, shown))}; --map uses one, as "
            f"--map config.NAME={shown[0]}, where NAME is one of docs/hyperparameters.md"
        ]
        if differing := self._differing(names.difference(NEUTRAL_SETTINGS)):
            which = ", ".join(repr(f"{self.prefix}{name}") for name in sorted(differing))
            notes.append(
                f"some rows have equal configurations, though their trials differed in {which}: "
                "what these changed is taken for chance, so map them or leave these trials out"
            )
        return notes

    def _differing(self, names: set[str]) -> set[str]:
        """Those of the settings that differ between rows of the same configuration."""
        values: dict[tuple[str, str], set[str]] = defaultdict(set)
        for config, unused in self.trials:
            same = json.dumps(config, sort_keys=True, default=str)
            for name in names:
                values[same, name].add(repr(unused.get(name)))
        return {name for (_, name), found in values.items() if len(found) > 1}

    def _configuration(
        self, settings: Mapping[str, Any], mapped: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Stage, set[str]]:
        """Our flat configuration, the stage of its curve, and the settings that it is made of."""
        options = self.options
        given = {f.removeprefix(CONFIG): v for f, v in mapped.items() if f.startswith(CONFIG)}
        own = {
            name.removeprefix(CONFIG): value
            for name, value in settings.items()
            if is_field(f"{CONFIG}{name.removeprefix(CONFIG)}") and name not in options.ignore
        }
        # Names that trainers and we have in common, as weight_decay, do not tell whose they are.
        if given or any(name.startswith(("sft_", "dpo_", "rl_")) for name in own):
            config = {n: value for n, value in (_typed(own) | given).items() if value is not None}
            used = {name for name in settings if name.removeprefix(CONFIG) in own}
            return config, options.stage or _longest_stage(config), used
        arguments = to_trl_arguments({k: v for k, v in settings.items() if k not in options.ignore})
        if "learning_rate" not in arguments:
            raise RowError(
                f"its settings ({', '.join(sorted(arguments)[:20]) or 'none'}) are neither our "
                "hyperparameters nor a trainer's arguments: name them with --map, as "
                f"--map config.sft_learning_rate={self.prefix}lr, or give what is missing with "
                "--config FILE"
            )
        stage = infer_stage(arguments, options.stage)
        steps = max(1, int(finite_number(arguments.get("max_steps")) or 1))
        config = _typed(config_from_arguments(arguments, stage, steps, None, options.processes))
        return config, stage, set(settings) if detect_dialect(settings) else set(READ_ARGUMENTS)


def _typed(config: Mapping[str, Any]) -> dict[str, Any]:
    typed = {name: parse_cell(f"{CONFIG}{name}", value) for name, value in config.items()}
    return {name: value for name, value in typed.items() if value is not None}


def _longest_stage(config: Mapping[str, Any]) -> Stage:
    """The stage that a configuration gives most of its steps to."""
    sft, dpo = (finite_number(config.get(f"{stage}_share")) for stage in ("sft", "dpo"))
    has = {name.partition("_")[0] for name in config}
    if "rl" in has and (sft or 0.0) + (dpo or 0.0) < 1.0:
        return "rl"
    return "dpo" if "dpo" in has and (dpo is None or dpo > 0) else "sft"
