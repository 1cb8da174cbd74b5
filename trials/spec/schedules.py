"""Learning-rate schedules that TRL's own command line lacks, as shares of the peak rate.

With w steps of warm-up out of T, three fall with the progress p = (t - w) / (T - w):

    rex         (1 - p) / (1 - p / 2)                           (Chen et al., arXiv 2107.04197)
    uba         2 (1 + cos pi p) / (2 phi + (2 - phi) (1 + cos pi p))    (arXiv 2505.24452)
    one_cycle   half a cosine up from 1/25 and one down to 1/250,000     (Smith and Topin,
                arXiv 1708.07120, with the constants of PyTorch's OneCycleLR)

The others have a body B and a tail: over the last `decay` share of the steps what B has come to is
multiplied by a shape S of the tail's own progress q:

    wsd         B = 1
    infinite    half a cosine from 1 to a floor over the `cooldown` share, then flat
                (Singh et al., arXiv 2503.02844)
    power       (t / t0)^-k from t0 = max(w, T / 50) on, with k = `power` (after Shen et al.,
                arXiv 2408.13359, where t counts tokens)

    S           cosine (1 + cos pi q) / 2; linear 1 - q; 1-sqrt 1 - sqrt q; exponential 0.01^q

The share at t is the rate of the step after t steps. Warm-up is t / w, as in transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.spec.hyperparameters import Hyperparameters
    from trials.spec.kinds import Stage

Share = Callable[[int], float]
"""From optimizer steps of the stage that are done to the next step's share of the peak rate."""

# Fields of a stage that only some schedules read, and these.
MEANINGFUL: dict[str, tuple[str, ...]] = {
    "decay": ("wsd", "infinite", "power"),
    "decay_shape": ("wsd", "infinite", "power"),
    "min_lr_ratio": ("cosine_min_lr", "infinite"),
    "cooldown": ("infinite",),
    "power": ("power",),
    "phi": ("uba",),
}
DEFAULTS: dict[str, float | str] = {
    "decay": 0.2,
    "min_lr_ratio": 0.1,
    "cooldown": 0.4,
    "power": 0.5,  # the paper finds 0.51
    "phi": 1.0,
}
DEFAULT_SHAPES = {"wsd": "cosine", "infinite": "exponential", "power": "exponential"}
FLOOR_RATIO = 0.25  # of infinite, whose floor most of the training runs at
RISE = 0.3  # share of the steps that one_cycle rises over, where no warm-up is given
POWER_BEGIN = 50  # share of the steps after which power falls, at the latest: one in so many
CYCLE_START, CYCLE_END = 1 / 25, 1 / 250_000
SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda q: (1.0 + math.cos(math.pi * q)) / 2.0,
    "linear": lambda q: 1.0 - q,
    "1-sqrt": lambda q: 1.0 - math.sqrt(q),
    "exponential": lambda q: 0.01**q,
}


def setting(h: Hyperparameters, stage: Stage, name: str) -> float:
    """A field of a stage's schedule, or its default."""
    given = getattr(h, f"{stage}_{name}")
    if given is None and name == "min_lr_ratio" and getattr(h, f"{stage}_schedule") == "infinite":
        return FLOOR_RATIO
    return float(DEFAULTS[name] if given is None else given)


def decay_shape(h: Hyperparameters, stage: Stage) -> str:
    """How the tail of a stage's schedule falls."""
    return getattr(h, f"{stage}_decay_shape") or DEFAULT_SHAPES[getattr(h, f"{stage}_schedule")]


def warmup_share(h: Hyperparameters, stage: Stage) -> float:
    """Share of a stage's steps in which the rate rises."""
    if getattr(h, f"{stage}_schedule") == "one_cycle" and not is_given(h, f"{stage}_warmup"):
        return RISE
    return float(getattr(h, f"{stage}_warmup"))


def is_given(h: Hyperparameters, name: str) -> bool:
    """True if a field was set, not left at its default."""
    return name in h.model_fields_set and getattr(h, name) is not None


def own_share(h: Hyperparameters, stage: Stage, steps: int) -> Share | None:
    """The schedule of a stage of some steps, or None where transformers has it."""
    schedule = getattr(h, f"{stage}_schedule")
    warmup = round(warmup_share(h, stage) * steps)
    match schedule:
        case "one_cycle":
            return _one_cycle(warmup_share(h, stage) * steps, steps)
        case "rex":
            return _after(warmup, steps, lambda p: (1.0 - p) / (1.0 - p / 2.0))
        case "uba":
            return _after(warmup, steps, _budget_aware(setting(h, stage, "phi")))
        case "infinite":
            floor, cooldown = setting(h, stage, "min_lr_ratio"), setting(h, stage, "cooldown")
            body = _cooled(warmup, max(1, round(cooldown * steps)), floor)
        case "power":
            exponent = setting(h, stage, "power")
            begin = max(warmup, steps / POWER_BEGIN, 1)
            body = lambda t: max(1.0, t / begin) ** -exponent  # noqa: E731
        case "wsd" if decay_shape(h, stage) == "exponential":
            body = lambda t: 1.0  # noqa: E731
        case _:
            return None
    tail = min(round(setting(h, stage, "decay") * steps), steps - warmup)
    return _with_tail(warmup, steps, tail, body, SHAPES[decay_shape(h, stage)])


def _after(warmup: int, steps: int, fall: Callable[[float], float]) -> Share:
    """Warm-up, then a fall over the progress of what is left."""

    def share(t: int) -> float:
        if t < warmup:
            return t / warmup
        return fall(min(1.0, (t - warmup) / max(1, steps - warmup)))

    return share


def _budget_aware(phi: float) -> Callable[[float], float]:
    def fall(p: float) -> float:
        high = 1.0 + math.cos(math.pi * p)
        return 2.0 * high / (2.0 * phi + (2.0 - phi) * high)

    return fall


def _one_cycle(rise: float, steps: int) -> Share:
    """As PyTorch counts it: the peak is the last step of the rise, the least rate the last one."""
    peak, last = max(rise - 1.0, 1e-9), max(steps - 1.0, 1.0)

    def share(t: int) -> float:
        if t <= peak:
            return CYCLE_START + (1.0 - CYCLE_START) * (1.0 - math.cos(math.pi * t / peak)) / 2.0
        p = min(1.0, (t - peak) / max(last - peak, 1e-9))
        return CYCLE_END + (1.0 - CYCLE_END) * (1.0 + math.cos(math.pi * p)) / 2.0

    return share


def _cooled(warmup: int, cooldown: int, floor: float) -> Share:
    def body(t: int) -> float:
        p = min(1.0, (t - warmup) / cooldown)
        return floor + (1.0 - floor) * (1.0 + math.cos(math.pi * p)) / 2.0

    return body


def _with_tail(
    warmup: int, steps: int, tail: int, body: Share, shape: Callable[[float], float]
) -> Share:
    """Warm-up, a body, and over the last `tail` steps the body's last value by a shape."""
    begin = steps - tail

    def share(t: int) -> float:
        if t < warmup:
            return t / warmup
        if t < begin:
            return body(t)
        return body(max(begin, warmup)) * shape(min(1.0, (t - begin) / max(1, tail)))

    return share
