"""Numbers and outcomes as text, the same in the report and on the console."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tasks.config.settings import Budget
from tasks.runs.folder import LevelRecord, ModelScores, Summary

# Two-sided 95 % of a normal distribution.
Z95 = 1.96


def format_number(value: float | None, digits: int = 3) -> str:
    """A score with fixed decimals, or a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.3g}"
    return text.replace("-", "−")


def decimals(se: float | None) -> int:
    """Decimals that show two significant digits of a standard error; 3 where there is none."""
    if se is None or not math.isfinite(se) or se <= 0:
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(se))))


UNKNOWN = 0.6  # width of an interval of correlations above which they are hardly known


def plus_minus(value: float | None, se: float | None, signed: bool = False) -> str:
    """``0.712 ± 0.023``; a value without a standard error stands alone."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = decimals(se)
    text = ("+" if signed and value >= 0 else "") + format_number(value, digits)
    return text if se is None or not math.isfinite(se) else f"{text} ± {format_number(se, digits)}"


def pluralize(number: int, one: str) -> str:
    """``1 trial``, ``12 trials``."""
    return f"{number:,} {one}" + ("" if number == 1 else "s")


def finished_before(trials: int, budget: Budget) -> str:
    """The progress of a resumed run: ``2 of 6 trials were finished before``."""
    of = f"{trials:,} of {budget}" if budget.unit == "trials" else pluralize(trials, "trial")
    return f"{of} {'was' if of == '1 trial' else 'were'} finished before"


def format_setting(value: object) -> str:
    """A hyperparameter's value as one would write it: 3e-05, 0.213, cosine."""
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else "not set"
    return str(value)


def format_duration(seconds: float | None) -> str:
    """``8.4 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def rough_duration(seconds: float) -> str:
    """An estimated time: ``less than a minute``, ``about 3 min``, ``about 2 h 10 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, rest = divmod(5 * round(minutes / 5), 60)
    return f"about {hours} h" + (f" {rest:02d} min" if rest else "")


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.0f} %"


def format_test_score(measured: ModelScores) -> str:
    """Score on the test split with its standard error."""
    return plus_minus(measured.test, measured.test_se)


def outcome(summary: Summary) -> str:
    """The three test scores, with a caveat if training shows no gain over the base model."""
    parts = [f"The best configuration reached {format_test_score(summary.best)} on the test split"]
    if summary.default is not None:
        parts.append(f"the default {format_test_score(summary.default)}")
    parts.append(f"the base model, before any training, {format_test_score(summary.base)}")
    text = "; ".join(parts) + "."
    over_base = summary.best.test - summary.base.test
    if over_base <= Z95 * math.hypot(summary.best.test_se, summary.base.test_se):
        text += " Nothing shows that training improved on the base model."
    return text


def gain(summary: Summary) -> tuple[float, float, bool] | None:
    """Gain over the default on the test split: value, standard error, whether it is paired."""
    if summary.default is None:
        return None
    if summary.paired_gain is not None and summary.paired_gain_se is not None:
        return summary.paired_gain, summary.paired_gain_se, True
    best, default = summary.best, summary.default
    return best.test - default.test, math.hypot(best.test_se, default.test_se), False


def proxy_text(proxy: LevelRecord, target: str) -> str:
    """What a proxy did for a run, in a sentence."""
    text = f"{proxy.model}: {pluralize(proxy.trials, 'trial')} for {proxy.cost:.2g} full trials"
    if proxy.past:
        text += f" and {proxy.past} out of the history"
    if (proxy.trials or proxy.past) and proxy.correlation is not None:
        text += f", {_agreement(proxy, target)}"
    when = f" after {pluralize(proxy.left_after, 'trial')}" if proxy.left_after else ""
    return f"{text}; left{when}: {proxy.left}" if proxy.left else text


def _agreement(proxy: LevelRecord, target: str) -> str:
    low, high = proxy.low, proxy.high
    if low is None or high is None:
        return f"correlation with {target} {proxy.correlation:.2f}"
    if high - low > UNKNOWN:  # a number would be little more than what was assumed
        return f"correlation with {target} between {low:.2f} and {high:.2f}, hardly known yet"
    return (
        f"correlation with {target} {proxy.correlation:.2f} (90 % interval {low:.2f} to {high:.2f})"
    )


def p_text(p: float) -> str:
    """A p-value: ``p = 0.021``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def verdict(summary: Summary) -> str:
    """A conclusion about the best configuration against the default.

    A difference counts if its 95 % interval (1.96 standard errors) excludes zero.
    """
    measured = gain(summary)
    if summary.default is None or measured is None:
        return "The default configuration was not measured, so no gain can be stated."
    if summary.best.config is not None and summary.best.config == summary.default.config:
        return "No configuration was found that is expected to do better than the default."
    value, se, paired = measured
    pairing = "paired on the same test rows" if paired else "not paired"
    amount = f"{plus_minus(value, se, signed=True)} ({pairing})"
    if abs(value) <= Z95 * se:
        return (
            f"The difference to the default is {amount}: within noise. "
            "This run does not show that either is better."
        )
    if value > 0:
        return f"The gain over the default is {amount}: more than noise explains."
    return (
        f"The best configuration on validation is worse than the default on the test split, "
        f"by {amount}: keep the default."
    )


FILTERS: dict[str, Callable[..., Any]] = {  # that templates apply
    function.__name__: function
    for function in (
        plus_minus, format_number, format_setting, format_duration, format_test_score,
        percent, pluralize, proxy_text, outcome, gain, verdict,
    )
}  # fmt: skip
