"""Stopping rules on the dynamics of training (the rules of JF-HPO, arXiv 2606.03073, and NaN).

Each rule sees the values logged at one step and answers with a ``Stop`` or None. A rule whose
metric is not logged (KL at beta 0) never fires and is named by ``inactive``.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from trials.spec.records import Stage, Stop, StoppingRules


class Diverged(ArithmeticError):
    """The loss or the gradient is NaN or infinite; carries the step and the values."""

    def __init__(self, stage: Stage, step: int, values: dict[str, float]):
        self.step, self.values = step, values
        super().__init__(f"{stage} diverged at step {step}: {values}")


class DynamicsMonitor:
    """Feeds every logged step to the rules of one stage.

    Args:
        stage: ``sft`` or ``rl``.
        rules: the thresholds.
    """

    def __init__(self, stage: Stage, rules: StoppingRules):
        self._stage, self._rules = stage, rules
        self._least_loss = math.inf
        self._last_kl: float | None = None
        self._loss_streak = self._kl_streak = self._zero_streak = self._flat_streak = (
            self._drop_streak
        ) = 0
        self._rewards: deque[float] = deque(maxlen=rules.reward_window)
        self._best_window, self._best_error = -math.inf, 0.0
        self._seen: set[str] = set()

    def observe(self, step: int, values: dict[str, float]) -> Stop | None:
        """Looks at one step's logged values.

        Raises:
            Diverged: when loss or gradient norm is not finite.
        """
        self._seen |= values.keys()
        broken: dict[str, float] = {
            name: values[name]
            for name in ("loss", "grad_norm")
            if name in values and not math.isfinite(values[name])
        }
        if broken:
            raise Diverged(self._stage, step, broken)
        if not self._rules.enabled:
            return None
        checks = (self._kl, self._reward, self._spread) if self._stage == "rl" else (self._loss,)
        for check in checks:
            if stop := check(step, values):
                return stop
        return None

    def inactive(self) -> list[str]:
        """Rules that could not judge because their metric was never logged."""
        in_rl = {"kl_growth": "kl", "reward_drop": "reward"}
        needs = in_rl if self._stage == "rl" else {"loss_explosion": "loss"}
        return [rule for rule, metric in needs.items() if metric not in self._seen]

    def _loss(self, step: int, values: dict[str, float]) -> Stop | None:
        loss = values.get("loss")
        if loss is None:
            return None
        self._least_loss = min(self._least_loss, loss)
        # One nat of slack: near zero loss, a tripling means nothing. And a large learning rate may
        # throw the first steps far off before it turns out to be the best.
        exploded = loss > self._rules.loss_explosion * self._least_loss + 1.0
        self._loss_streak = self._loss_streak + 1 if exploded else 0
        if self._loss_streak >= self._rules.loss_patience:
            return Stop(
                rule="loss_explosion", step=step, values={"loss": loss, "least": self._least_loss}
            )
        return None

    def _kl(self, step: int, values: dict[str, float]) -> Stop | None:
        kl = values.get("kl")
        if kl is None:
            return None
        last, self._last_kl = self._last_kl, kl
        grows = last is not None and last > 0 and kl / last - 1 > self._rules.kl_growth
        self._kl_streak = self._kl_streak + 1 if grows and kl > self._rules.kl_floor else 0
        if self._kl_streak >= self._rules.kl_patience:
            return Stop(rule="kl_growth", step=step, values={"kl": kl, "previous": last or 0.0})
        return None

    def _reward(self, step: int, values: dict[str, float]) -> Stop | None:
        reward = _task_reward(values)
        if reward is None:
            return None
        self._zero_streak = 0 if reward else self._zero_streak + 1
        if self._zero_streak >= self._rules.zero_reward_steps:
            return Stop(rule="zero_reward", step=step, values={"steps": float(self._zero_streak)})
        self._rewards.append(reward)
        if len(self._rewards) < self._rules.reward_window:
            return None
        mean = statistics.fmean(self._rewards)
        error = statistics.stdev(self._rewards) / math.sqrt(len(self._rewards))
        if mean > self._best_window:
            self._best_window, self._best_error = mean, error
        # A drop counts only beyond three standard errors of the difference of the two windows:
        # rewards of small batches are noisy, and the best window is the luckiest of many.
        noise = 3 * math.hypot(error, self._best_error)
        drop = self._best_window - mean
        dropped = drop > self._rules.reward_drop * abs(self._best_window) and drop > noise
        # The best of many windows is a lucky one, so a healthy trial falls below it now and then;
        # it does not stay there.
        self._drop_streak = self._drop_streak + 1 if dropped else 0
        if self._drop_streak >= self._rules.reward_patience:
            return Stop(
                rule="reward_drop", step=step, values={"reward": mean, "best": self._best_window}
            )
        return None

    def _spread(self, step: int, values: dict[str, float]) -> Stop | None:
        flat = values.get("groups_without_spread")
        if flat is None:
            return None
        # All groups right is success, not a dead signal: the reward rule sees that case.
        dead = flat >= 1.0 and (_task_reward(values) or 0.0) < 1.0
        self._flat_streak = self._flat_streak + 1 if dead else 0
        if self._flat_streak >= self._rules.no_spread_steps:
            return Stop(rule="no_spread", step=step, values={"steps": float(self._flat_streak)})
        return None


def _task_reward(values: dict[str, float]) -> float | None:
    """The mean reward of a step, without the terms for form and length that RL may add."""
    return values.get("task_reward", values.get("reward"))
