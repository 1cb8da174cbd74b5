"""The ways to search that are compared, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.levels.family import Variant

Group = Literal["proxies", "history", "ablation"]
BOTH = ("tiny-100k", "tiny-1m")
GP = {"strategy": "gp"}


@dataclass(frozen=True)
class Arm:
    """A way to search the target."""

    group: Group
    proxies: tuple[str, ...] = ()
    """Smaller models that it may use, in the order of size."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `Search`."""
    variant: Variant = "true"
    """What the smaller models' trials are."""
    checkpoints: bool = True
    """Whether a trial that is continued resumes; else it starts again, and pays for all of it."""
    history: bool = False
    """Whether the search learns from the other datasets."""


def _ablated(*parts: str, checkpoints: bool = True) -> Arm:
    proxies = () if "proxy" in parts else BOTH
    return Arm("ablation", proxies, {"ablate": parts}, checkpoints=checkpoints, history=True)


ARMS: dict[str, Arm] = {
    "alone": Arm("proxies", options=GP),
    "tiny-100k": Arm("proxies", BOTH[:1], GP),
    "tiny-1m": Arm("proxies", BOTH[1:], GP),
    "both": Arm("proxies", BOTH, GP),
    "both shuffled": Arm("proxies", BOTH, GP, "shuffled"),
    "both reversed": Arm("proxies", BOTH, GP, "reversed"),
    "both without shift": Arm("proxies", BOTH, GP | {"ablate": ("shift",)}),
    "history": Arm("history", history=True),
    "history and both": Arm("history", BOTH, history=True),
    "random": Arm("ablation", options={"strategy": "random"}),
    "joint": _ablated(),
    "joint without proxy": _ablated("proxy"),
    "joint without checkpoints": _ablated(checkpoints=False),
    "joint without early stopping": _ablated("early_stopping"),
    "joint without shift": _ablated("shift"),
}
