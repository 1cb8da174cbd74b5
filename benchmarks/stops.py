"""What the rules that warn would have stopped in the trials of the bundled history.

    python -m benchmarks.stops

The recorded steps of every full-length trial with RL are shown to the rules in their shadow. A stop
was right if the trial ended more than one standard error below its last score before RL. A rule
has earned the right to stop trials by ten stops and more of which nine of ten were right, none of
them of the best trial of a model on a dataset. The history has no outcomes of single rows, so the
standard error of a difference of scores is that of two independent ones: where rows are paired the
rules on scores see more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table

from benchmarks.tune_runs import bundled_files
from flows.terminal.console import for_tables
from tasks.history.curves import unpack_curve
from tasks.history.prefixes import stage_plan
from tasks.history.rows import read_history
from trials.spec.alarms import WINDOW, heldout_verdicts
from trials.spec.kinds import ALARMS, StopRule
from trials.spec.records import StoppingRules
from trials.spec.stopping import DynamicsMonitor

TWO = math.sqrt(2.0)  # standard errors of a score in one of a difference
LEAST_STOPS, LEAST_RIGHT = 10, 0.9


@dataclass(frozen=True)
class Trial:
    """What the rules would have said of one trial."""

    group: tuple[str, str]
    score: float
    before: float
    """Its last score before RL."""
    error: float
    fired: Mapping[StopRule, float]
    """Share of the steps that were run when a rule would have stopped it."""

    @property
    def lost(self) -> bool:
        """True if RL cost it more than a standard error."""
        return self.score < self.before - self.error


def trials_of(rows: pd.DataFrame) -> Iterator[Trial]:
    """Every full-length trial that was scored before RL."""
    whole = rows[(rows.state == "completed") & (rows.fraction >= 1.0) & rows.score_se.notna()]
    for row in whole.to_dict("records"):
        series = unpack_curve(row["curve"])
        plan = stage_plan({str(name): value for name, value in row.items()}, series)
        scores = dict(zip(*series.get(("sft", "score"), ([], [])), strict=True))
        if not scores or not plan.rl:
            continue
        yield Trial(
            group=(row["dataset_id"], row["model_id"]),
            score=row["score"],
            before=scores[max(scores)],
            error=row["score_se"],
            fired=_fired(series, scores[max(scores)], row["score_se"], plan.total),
        )


def _fired(series: Any, before: float, error: float, total: int) -> dict[StopRule, float]:
    monitor = DynamicsMonitor("rl", StoppingRules(enabled=True))
    steps: dict[int, dict[str, float]] = {}
    for (stage, metric), (at, values) in series.items():
        if stage == "rl":
            for step, value in zip(at, values, strict=True):
                steps.setdefault(step, {})[metric] = value
    fired: dict[StopRule, float] = {}
    rewards: list[float] = []
    for step, values in sorted(steps.items()):
        if "reward" in values:
            rewards.append(values["reward"])
        monitor.observe(step, {k: v for k, v in values.items() if k != "score"})
        if "score" in values and step < total:
            windows = (rewards[:WINDOW], rewards[-WINDOW:]) if len(rewards) >= 2 * WINDOW else None
            gain = values["score"] - before
            for rule, verdict in heldout_verdicts(gain, TWO * error, windows).items():
                if verdict is not None and verdict[0]:
                    fired.setdefault(rule, step / total)
    return fired | {stop.rule: stop.step / total for stop in monitor.shadows if stop.step < total}


def table_of(trials: Sequence[Trial]) -> Table:
    """A row for each rule."""
    best = {
        group: max(t.score for t in trials if t.group == group)
        for group in {t.group for t in trials}
    }
    lost = sum(trial.lost for trial in trials) / len(trials)
    table = Table(
        *("rule", "stops", "right", "of the best", "steps saved", "may stop"),
        title=f"{len(trials)} trials, of which RL cost {lost:.1%} more than a standard error",
    )
    for rule in ALARMS:
        stopped = [trial for trial in trials if rule in trial.fired]
        right = sum(trial.lost for trial in stopped) / len(stopped) if stopped else math.nan
        bests = sum(trial.score >= best[trial.group] for trial in stopped)
        saved = sum(1.0 - trial.fired[rule] for trial in stopped) / len(trials)
        allowed = len(stopped) >= LEAST_STOPS and right >= LEAST_RIGHT and not bests
        table.add_row(
            rule.value, str(len(stopped)), f"{right:.0%}" if stopped else "", str(bests),
            f"{saved:.1%}", "yes" if allowed else "no",
        )  # fmt: skip
    return table


def main() -> None:
    """Print what every rule would have stopped."""
    for_tables().print(table_of(list(trials_of(read_history(bundled_files())))))


if __name__ == "__main__":
    main()
