"""The strategies of the search as players."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.replay.play import BestSeen
from benchmarks.replay.tables import Move, ReplayTask
from surrogates.core.base import NothingToRecommendError, Proposal
from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder


class SearchPlayer:
    """`surrogates.online.search.Search` choosing from the candidates.

    Args:
        task: The table.
        encoder: Of the space.
        budget: Seconds that may be spent.
        seed: Of the search.
        offline: Models fitted to the past; None for strategies without one.
        options: Further options of `Search`; `strategy` among them.
        best_seen: Whether it ends with the best score seen, as a peer's own package would, and not
            with what the search recommends.

    Raises:
        OptionError: The search does not know an option.
    """

    def __init__(
        self,
        task: ReplayTask,
        encoder: SpaceEncoder,
        budget: float,
        seed: int,
        offline: OfflineModels | None,
        options: Mapping[str, Any],
        best_seen: bool = False,
    ) -> None:
        self._seen = BestSeen() if best_seen else None
        self._encoder = encoder
        self._candidates = task.candidates()
        self._index = {encoder.key(config): i for i, config in enumerate(task.configs)}
        self._told: dict[str, Move] = {}
        self._asked: Proposal | None = None
        self.search = Search(
            encoder.space,
            dataset=task.meta or None,
            budget=budget,
            seed=seed,
            offline=offline,
            **options,
        )

    def ask(self) -> Move | None:
        [proposal] = self.search.ask(1, candidates=self._candidates)
        self._asked = proposal
        before = self._told[proposal.continues].fraction if proposal.continues else 0.0
        return Move(self._index[self._encoder.key(proposal.config)], proposal.fraction, before)

    def tell(
        self,
        move: Move,
        score: float | None,
        score_se: float,
        cost: float,
        signals: Mapping[str, float],
    ) -> None:
        assert self._asked is not None, "tell() without ask()"
        id, self._asked = self._asked.id, None
        self._told[id] = move
        if self._seen is not None:
            self._seen.tell(move, score)
        state = "failed" if score is None else "completed" if move.fraction >= 1 else "stopped"
        self.search.tell(
            id, score, score_se, cost, fraction=move.fraction, signals=signals, state=state
        )

    def incumbent(self) -> int | None:
        if self._seen is not None:
            return self._seen.incumbent()
        try:
            best = self.search.best()
        except NothingToRecommendError:
            return None
        # An opinion without a trial behind it may be any configuration of the space.
        return self._index.get(self._encoder.key(best.config)) if best.id is not None else None
