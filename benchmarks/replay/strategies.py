"""The strategies that are compared, as a table: what each is, and what it may learn from."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from benchmarks.replay.peers import make_peer
from benchmarks.replay.play import Player
from benchmarks.replay.tables import ReplayTask
from surrogates.space.encoding import SpaceEncoder
from trials.io.errors import SettingsError

if TYPE_CHECKING:
    from surrogates.offline.models import OfflineModels

NO_PAST = "none"
"""The history variant of a strategy that learns from none."""

Kind = Literal["own", "ablation", "peer", "transfer peer"]


@dataclass(frozen=True)
class Strategy:
    """One row of every table."""

    kind: Kind
    """Ours or a peer's; a transfer peer learns from the past too."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `Search`; empty for a peer outside it."""
    peer: str = ""
    """Name in `PEERS`."""
    variants: tuple[str, ...] = (NO_PAST,)
    """Histories that it is played with."""

    @property
    def package(self) -> str:
        """The module that must be there; empty where AutoPipe's own are enough."""
        return self.peer and ("smac" if self.peer.startswith("smac") else "syne_tune")

    @property
    def learns_offline(self) -> bool:
        """Whether it needs `OfflineModels` of the past."""
        return not self.peer and self.variants != (NO_PAST,)

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return bool(self.package) and importlib.util.find_spec(self.package) is None


def _own(strategy: str, *variants: str, **options: Any) -> Strategy:
    options = {"strategy": strategy} | options
    return Strategy("own", options, variants=variants or (NO_PAST,))


def _without(part: str) -> Strategy:
    options = {"strategy": "autopipe", "without": (part,)}
    return Strategy("ablation", options, variants=("true",))


STRATEGIES: dict[str, Strategy] = {
    "autopipe": _own("autopipe", "true", "shuffled", "inverted"),
    "gp": _own("gp"),
    "ranker": _own("ranker", "true"),
    "random": Strategy("peer", {"strategy": "random"}),
    "sobol": Strategy("peer", {"strategy": "sobol"}),
    "tpe": Strategy("peer", {"strategy": "tpe"}),
    "bohb": Strategy("peer", {"strategy": "bohb"}),
    "smac": Strategy("peer", peer="smac"),
    "smac-hyperband": Strategy("peer", peer="smac-hyperband"),
    "syne-cqr": Strategy("peer", peer="syne-cqr"),
    "syne-asha-cqr": Strategy("peer", peer="syne-asha-cqr"),
    "syne-bounding-box": Strategy("transfer peer", peer="syne-bounding-box", variants=("true",)),
    "syne-zero-shot": Strategy("transfer peer", peer="syne-zero-shot", variants=("true",)),
    "syne-quantile": Strategy("transfer peer", peer="syne-quantile", variants=("true",)),
    "autopipe without ranker": _without("ranker"),
    "autopipe without residual": _without("residual"),
    "autopipe without early stopping": _without("early_stopping"),
    "autopipe without cost": _without("cost"),
    "autopipe without predictor noise": _without("predictor_noise"),
}


def chosen(names: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names, all of them if none is given.

    Raises:
        SettingsError: one is unknown; the nearest known one is named.
    """
    names, known = list(names), list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"unknown {what} {name!r}.{hint}\n  known: {', '.join(known)}")
    return names or known


def make_player(
    strategy: Strategy,
    task: ReplayTask,
    encoder: SpaceEncoder,
    budget: float,
    seed: int,
    past: pd.DataFrame | None,
    offline: OfflineModels | None,
) -> Player:
    """A fresh player.

    Args:
        strategy: A row of `STRATEGIES`.
        task: The table that it plays on.
        encoder: Of the space.
        budget: Seconds that may be spent.
        seed: Same seed, same moves.
        past: Rows of the other datasets, for a transfer peer.
        offline: Models fitted to them, for the search.
    """
    if not strategy.peer:
        from benchmarks.replay.players import SearchPlayer

        best_seen = strategy.kind == "peer"
        return SearchPlayer(task, encoder, budget, seed, offline, strategy.options, best_seen)
    return make_peer(strategy.peer, task, encoder, budget, seed, past)
