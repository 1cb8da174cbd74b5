"""Stopping rules on the dynamics of training (the rules of JF-HPO, arXiv 2606.03073, and NaN).

A rule whose metric is not logged (KL at beta 0) never fires and is named by ``inactive``. Rules
that warn before they may stop anything are in ``alarms.py``.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence

from trials.spec.alarms import PATIENCE, RLAlarms, Verdict
from trials.spec.kinds import ALARMS, Stage, StopRule
from trials.spec.records import Stop, StoppingRules

ALARM_PATIENCE = {StopRule.SHAPING_GAP: 1}  # its windows are patient already


class Diverged(ArithmeticError):
    """The loss or the gradient is NaN or infinite; carries the step and the values."""

    def __init__(self, stage: Stage, step: int, values: dict[str, float]):
        self.step, self.values = step, values
        super().__init__(f"{stage} diverged at step {step}: {values}")


class DynamicsMonitor:
    """Feeds every logged step to the rules of one stage: those of RL differ from the others'.

    A rule fires when so many steps in a row speak for stopping.
    """

    def __init__(self, stage: Stage, rules: StoppingRules):
        self._stage, self._rules = stage, rules
        self._least_loss = math.inf
        self._last_kl: float | None = None
        self._rewards: deque[float] = deque(maxlen=rules.reward_window)
        self._best_window, self._best_error = -math.inf, 0.0
        self._seen: set[str] = set()
        self._alarms = RLAlarms() if stage == "rl" else None
        self.shadows: list[Stop] = []
        """What rules in their shadow would have stopped, each once."""
        self._streaks: Counter[StopRule] = Counter()
        self._judges: dict[StopRule, tuple[Callable[[dict[str, float]], Verdict], int]] = (
            {
                StopRule.KL_GROWTH: (self._kl_grows, rules.kl_patience),
                StopRule.ZERO_REWARD: (self._no_reward, rules.zero_reward_steps),
                StopRule.REWARD_DROP: (self._reward_drops, rules.reward_patience),
                StopRule.NO_SPREAD: (self._no_spread, rules.no_spread_steps),
            }
            if stage == "rl"
            else {StopRule.LOSS_EXPLOSION: (self._loss_explodes, rules.loss_patience)}
        )

    def observe(self, step: int, values: dict[str, float]) -> Stop | None:
        """Judges one step's logged values.

        Raises:
            Diverged: when loss or gradient norm is not finite.
        """
        self._seen |= values.keys()
        watched: dict[str, float] = {n: values[n] for n in ("loss", "grad_norm") if n in values}
        if broken := {name: value for name, value in watched.items() if not math.isfinite(value)}:
            raise Diverged(self._stage, step, broken)
        if not self._rules.enabled:
            return None
        for rule, (judge, patience) in self._judges.items():
            if (stop := self._judged(rule, judge(values), patience, step)) is not None:
                return stop
        if self._alarms is None:
            return None
        stops = [
            self._judged(rule, verdict, ALARM_PATIENCE.get(rule, PATIENCE), step)
            for rule, verdict in self._alarms.observe(values).items()
        ]
        return next((stop for stop in stops if stop is not None), None)

    def before(self, outcomes: Sequence[float]) -> None:
        """The outcomes of the validation rows at the last score before this stage."""
        if self._alarms is not None:
            self._alarms.before(outcomes)

    def observe_score(self, step: int, outcomes: Sequence[float]) -> Stop | None:
        """Judges a validation score, by the outcome of every row."""
        if self._alarms is None or not self._rules.enabled:
            return None
        verdicts = self._alarms.observe_score(outcomes)
        stops = [self._judged(rule, verdict, 1, step) for rule, verdict in verdicts.items()]
        return next((stop for stop in stops if stop is not None), None)

    def _judged(self, rule: StopRule, verdict: Verdict, patience: int, step: int) -> Stop | None:
        """The stop that a verdict leads to after as many in a row; a shadow is only noted."""
        if verdict is None:
            return None
        bad, shown = verdict
        self._streaks[rule] = self._streaks[rule] + 1 if bad else 0
        if self._streaks[rule] < patience:
            return None
        steps = {"steps": float(self._streaks[rule])}
        stop = Stop(rule=rule, step=step, values=shown or steps)
        mode = getattr(self._rules, rule.value) if rule in ALARMS else "stop"
        if mode == "shadow" and rule not in {each.rule for each in self.shadows}:
            self.shadows.append(stop)
        return stop if mode == "stop" else None

    def inactive(self) -> list[str]:
        """Rules that could not judge because their metric was never logged."""
        in_rl = {StopRule.KL_GROWTH: "kl", StopRule.REWARD_DROP: "reward"}
        needs = in_rl if self._stage == "rl" else {StopRule.LOSS_EXPLOSION: "loss"}
        return [rule.value for rule, metric in needs.items() if metric not in self._seen]

    def _loss_explodes(self, values: dict[str, float]) -> Verdict:
        if (loss := values.get("loss")) is None:
            return None
        self._least_loss = min(self._least_loss, loss)
        # One nat of slack: near zero loss, a tripling means nothing. And a large learning rate may
        # throw the first steps far off before it turns out to be the best.
        exploded = loss > self._rules.loss_explosion * self._least_loss + 1.0
        return exploded, {"loss": loss, "least": self._least_loss}

    def _kl_grows(self, values: dict[str, float]) -> Verdict:
        if (kl := values.get("kl")) is None:
            return None
        last, self._last_kl = self._last_kl or 0.0, kl
        grows = last > 0 and kl / last - 1 > self._rules.kl_growth
        return grows and kl > self._rules.kl_floor, {"kl": kl, "previous": last}

    def _no_reward(self, values: dict[str, float]) -> Verdict:
        reward = _task_reward(values)
        return None if reward is None else (not reward, {})

    def _reward_drops(self, values: dict[str, float]) -> Verdict:
        if (reward := _task_reward(values)) is None:
            return None
        self._rewards.append(reward)
        if len(self._rewards) < self._rules.reward_window:
            return None
        mean = statistics.fmean(self._rewards)
        error = statistics.stdev(self._rewards) / math.sqrt(len(self._rewards))
        if mean > self._best_window:
            self._best_window, self._best_error = mean, error
        # A drop counts only beyond three standard errors of the difference of the two windows:
        # rewards of small batches are noisy. And the best of many windows is a lucky one, so a
        # healthy trial falls below it now and then; it does not stay there.
        noise = 3 * math.hypot(error, self._best_error)
        drop = self._best_window - mean
        dropped = drop > self._rules.reward_drop * abs(self._best_window) and drop > noise
        return dropped, {"reward": mean, "best": self._best_window}

    def _no_spread(self, values: dict[str, float]) -> Verdict:
        if (flat := values.get("groups_without_spread")) is None:
            return None
        # All groups right is success, not a dead signal: the reward rule sees that case.
        return flat >= 1.0 and (_task_reward(values) or 0.0) < 1.0, {}


def _task_reward(values: dict[str, float]) -> float | None:
    """The mean reward of a step, without the terms for form and length that RL may add."""
    return values.get("task_reward", values.get("reward"))
