"""Rules on RL that warn before they may stop anything: each is off, in its shadow, or stops.

With the first five steps as the start, W windows of ten steps, and r the task's own reward:

    entropy_collapse  entropy < 0.1 of its start, 0.9 of the groups flat, r < 0.9; ten steps
    entropy_growth    entropy > 2 times its start and > start + 1 nat, r in the last W not above the
                      first; ten steps
    truncation        truncated > 0.5 and > start + 0.3; ten steps
    shaping_gap       last W against the first: total reward up and r down, each by > 2 SE
    heldout_drop      score against the last one before RL, paired: < -2 SE and < -0.02
    heldout_gap       r up by > 2 SE, the score not, and their gains > 3 SE apart

In its shadow a rule says once what it would have done. Entropy that collapses as the task is solved
is normal (arXiv 2505.22617), hence the bounds on r. There is no published bound on truncation.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from trials.spec.kinds import StopRule

START, WINDOW, PATIENCE = 5, 10, 10
COLLAPSED, FLAT, SOLVED = 0.1, 0.9, 0.9
GROWN, GROWN_NATS = 2.0, 1.0
TRUNCATED, TRUNCATED_MORE = 0.5, 0.3
LEAST_DROP = 0.02

# A rule's answer for one step: whether it speaks for stopping, and the values that a stop shows, by
# default the number of steps. None where its metric was not logged or cannot be judged yet.
Verdict = tuple[bool, dict[str, float]] | None


class RLAlarms:
    """The rules' view of one RL stage; fed with every step, and with every validation score."""

    def __init__(self) -> None:
        self._history: dict[str, list[float]] = {}
        self._before: Sequence[float] = ()

    def observe(self, values: Mapping[str, float]) -> dict[StopRule, Verdict]:
        """Verdicts on one step's logged values; None where a rule cannot judge yet."""
        known = dict(values)
        if "reward" in known:
            known.setdefault("task_reward", known["reward"])
        for name, value in known.items():
            self._history.setdefault(name, []).append(value)
        return {
            StopRule.ENTROPY_COLLAPSE: self._collapsed(known),
            StopRule.ENTROPY_GROWTH: self._grown(known),
            StopRule.TRUNCATION: self._truncated(known),
            StopRule.SHAPING_GAP: self._shaped() if "task_reward" in values else None,
        }

    def before(self, outcomes: Sequence[float]) -> None:
        """The outcomes of every validation row at the last score before RL."""
        self._before = list(outcomes)

    def observe_score(self, outcomes: Sequence[float]) -> dict[StopRule, Verdict]:
        """Verdicts on the outcomes of the validation rows at a score in RL."""
        if len(outcomes) != len(self._before) or len(outcomes) < 2:
            return {}
        pairs = zip(outcomes, self._before, strict=True)
        differences = [now - then for now, then in pairs]
        gain, error = statistics.fmean(differences), _error(differences)
        return heldout_verdicts(gain, error, self._windows("task_reward"))

    def _start(self, name: str) -> float | None:
        values = self._history.get(name, [])
        return statistics.fmean(values[:START]) if len(values) > START else None

    def _windows(self, name: str) -> tuple[list[float], list[float]] | None:
        """The first and the last ten values, which do not overlap."""
        values = self._history.get(name, [])
        return (values[:WINDOW], values[-WINDOW:]) if len(values) >= 2 * WINDOW else None

    def _collapsed(self, values: Mapping[str, float]) -> Verdict:
        names = ("entropy", "groups_without_spread", "task_reward")
        start = self._start("entropy")
        if start is None or any(name not in values for name in names):
            return None
        entropy, flat, reward = (values[name] for name in names)
        bad = entropy < COLLAPSED * start and flat >= FLAT and reward < SOLVED
        return bad, {"entropy": entropy, "start": start}

    def _grown(self, values: Mapping[str, float]) -> Verdict:
        start, windows = self._start("entropy"), self._windows("task_reward")
        if start is None or windows is None or "entropy" not in values:
            return None
        first, last = map(statistics.fmean, windows)
        entropy = values["entropy"]
        bad = entropy > max(GROWN * start, start + GROWN_NATS) and last <= first
        return bad, {"entropy": entropy, "start": start}

    def _truncated(self, values: Mapping[str, float]) -> Verdict:
        start = self._start("truncated")
        if start is None or "truncated" not in values:
            return None
        share = values["truncated"]
        bad = share > TRUNCATED and share > start + TRUNCATED_MORE
        return bad, {"truncated": share, "start": start}

    def _shaped(self) -> Verdict:
        total, task = self._windows("reward"), self._windows("task_reward")
        if total is None or task is None:
            return None
        up, up_error = _change(*total)
        down, down_error = _change(*task)
        return up > 2 * up_error and down < -2 * down_error, {"reward": up, "task_reward": down}


def heldout_verdicts(
    gain: float, error: float, windows: tuple[list[float], list[float]] | None
) -> dict[StopRule, Verdict]:
    """Verdicts on a gain of the validation score in RL, its error and the training rewards."""
    drop = gain < -2 * error and gain < -LEAST_DROP
    found: dict[StopRule, Verdict] = {
        StopRule.HELDOUT_DROP: (drop, {"change": gain, "error": error})
    }
    if windows is not None:
        trained, trained_error = _change(*windows)
        risen = trained > 2 * trained_error
        gap = risen and gain <= 0 and trained - gain > 3 * math.hypot(trained_error, error)
        found[StopRule.HELDOUT_GAP] = gap, {"training": trained, "validation": gain}
    return found


def _change(first: Sequence[float], last: Sequence[float]) -> tuple[float, float]:
    """Difference of the means of two windows, and its standard error."""
    error = math.hypot(_error(first), _error(last))
    return statistics.fmean(last) - statistics.fmean(first), error


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))
