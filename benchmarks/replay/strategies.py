"""The strategies that are compared, as a table: what each is, and what it may learn from."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.replay.loop import Optimizer, Problem

NO_HISTORY = "none"
"""The history variant of a strategy that learns from none."""

Kind = Literal["own", "ablation", "peer", "transfer peer"]


@dataclass(frozen=True)
class Strategy:
    """One row of every table."""

    kind: Kind  # ours or a peer's; a transfer peer learns from the history too
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `Search`; empty for a peer outside it."""
    variants: tuple[str, ...] = (NO_HISTORY,)  # histories that it is run with
    implementation: str = ""
    """`module.Class` in `benchmarks.replay.optimizers`, for a peer outside `Search`."""

    @property
    def package(self) -> str:
        """The module that must be installed; empty where AutoPipe's own are enough."""
        module = self.implementation.partition("_")[0].partition(".")[0]
        return {"": "", "smac3": "smac", "syne": "syne_tune"}[module]

    @property
    def learns_offline(self) -> bool:
        """True if it needs `OfflineModels` of the history."""
        return not self.implementation and self.variants != (NO_HISTORY,)

    @property
    def missing(self) -> bool:
        """True if its package is not installed."""
        return bool(self.package) and importlib.util.find_spec(self.package) is None

    def make(self, problem: Problem) -> Optimizer:
        """A fresh optimizer; a peer's package is imported now, and not before."""
        if not self.implementation:
            from benchmarks.replay.optimizers.search import SearchOptimizer

            return SearchOptimizer(problem, self.options, best_seen=self.kind == "peer")
        module, name = self.implementation.split(".")
        made = getattr(importlib.import_module(f"benchmarks.replay.optimizers.{module}"), name)
        return made(problem)  # type: ignore[no-any-return]


STRATEGIES: dict[str, Strategy] = {
    "autopipe": Strategy("own", {"strategy": "autopipe"}, ("true", "shuffled", "inverted")),
    "gp": Strategy("own", {"strategy": "gp"}),
    "ranker": Strategy("own", {"strategy": "ranker"}, ("true",)),
    "random": Strategy("peer", {"strategy": "random"}),
    "sobol": Strategy("peer", {"strategy": "sobol"}),
    "tpe": Strategy("peer", {"strategy": "tpe"}),
    "bohb": Strategy("peer", {"strategy": "bohb"}),
    "smac": Strategy("peer", implementation="smac3.Smac"),
    "smac-hyperband": Strategy("peer", implementation="smac3.SmacHyperband"),
    "syne-cqr": Strategy("peer", implementation="syne.Cqr"),
    **{
        f"syne-{name}": Strategy(
            "transfer peer", variants=("true",), implementation=f"syne_transfer.{kind}"
        )
        for name, kind in (
            ("bounding-box", "BoundingBox"), ("zero-shot", "ZeroShot"), ("quantile", "Quantile")
        )
    },
    **{
        f"autopipe without {part.replace('_', ' ')}": Strategy(
            "ablation", {"strategy": "autopipe", "ablate": (part,)}, ("true",)
        )
        for part in ("ranker", "residual", "early_stopping", "cost", "predictor_noise")
    },
}  # fmt: skip
