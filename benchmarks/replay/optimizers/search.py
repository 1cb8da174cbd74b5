"""The strategies of AutoPipe's own search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.replay.loop import BestSeen, Problem
from benchmarks.replay.tables import Outcome, Query
from surrogates.core.base import NothingToRecommendError, Proposal
from surrogates.online.search import Search


class SearchOptimizer:
    """`surrogates.online.search.Search` restricted to the candidates.

    With `best_seen` it recommends the best score seen, as a peer's own package would, instead of
    what the search recommends.

    Raises:
        OptionError: The search does not know an option.
    """

    def __init__(self, problem: Problem, options: Mapping[str, Any], best_seen: bool = False):
        task, encoder = problem.task, problem.encoder
        self._best_seen = BestSeen() if best_seen else None
        self._key = encoder.key
        self._candidates = task.candidates()
        self._index = {encoder.key(config): i for i, config in enumerate(task.configs)}
        self._queries: dict[str, Query] = {}
        self._pending: Proposal | None = None
        self.search = Search(
            encoder.space,
            dataset=task.meta or None,
            budget=problem.budget,
            seed=problem.seed,
            offline=problem.offline,
            **options,
        )

    def ask(self) -> Query | None:
        [proposal] = self.search.ask(1, candidates=self._candidates)
        self._pending = proposal
        reached = self._queries[proposal.continues].fraction if proposal.continues else 0.0
        return Query(self._index[self._key(proposal.config)], proposal.fraction, reached)

    def tell(self, query: Query, outcome: Outcome) -> None:
        assert self._pending is not None, "tell() without ask()"
        id, self._pending = self._pending.id, None
        self._queries[id] = query
        if self._best_seen is not None:
            self._best_seen.tell(query, outcome.score)
        finished = "completed" if query.fraction >= 1 else "stopped"
        self.search.tell(
            id,
            outcome.score,
            outcome.score_se,
            outcome.cost,
            fraction=query.fraction,
            signals=outcome.signals,
            state="failed" if outcome.score is None else finished,
        )

    def incumbent(self) -> int | None:
        if self._best_seen is not None:
            return self._best_seen.incumbent()
        try:
            best = self.search.best()
        except NothingToRecommendError:
            return None
        # A recommendation without a trial behind it may be any configuration of the space.
        return self._index.get(self._key(best.config)) if best.id is not None else None
