"""Ask/tell search for the best configuration of one dataset, helped by past datasets.

>>> search = Search(space, history=past_runs, dataset={"n_rows": 5000}, budget=20)
>>> for _ in range(20):
...     [proposal] = search.ask()
...     search.tell(proposal.id, score=run(proposal.config, proposal.fraction))
>>> search.best().config
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace

from surrogates.core.base import (
    Config,
    NothingToRecommendError,
    OptionError,
    Proposal,
    Recommendation,
)
from surrogates.offline.models import OfflineModels
from surrogates.online.offline_prior import OfflineOpinion
from surrogates.online.saved import read_state, write_state
from surrogates.online.strategies import (
    BAYESIAN,
    Choice,
    Round,
    choose,
    distinct_rungs,
    next_finalist,
    planned_rung,
)
from surrogates.online.task_model import TaskModel, torch_threads
from surrogates.online.trial_log import Book
from surrogates.space.axes import plain
from surrogates.space.candidates import generated_candidates, given_candidates
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.options import SearchOptions
from surrogates.space.stages import Beginnings, StagesOf


class Search:
    """Chooses which configurations to try. See `surrogates.core.base` for the contract.

    Args:
        space: Any ConfigSpace space.
        history: Past trials (see `surrogates.history.table.read_history`), or None.
        dataset: Meta-features of the new dataset, keys with or without "meta.", or None.
        maximize: Whether more score is better, here and in the history.
        budget: Total cost that may be told, in the caller's units; None if unknown.
        seed: Same seed and same calls, same proposals.
        **options: See `SearchOptions`; `offline=OfflineModels` skips fitting the history again, and
            `stages` says which stages a configuration's run has (see `surrogates.space.stages`),
            so that no trial is proposed only to measure what another one has measured.

    Raises:
        OptionError: An argument or option is unknown or out of range.
        HistoryError: The history lacks a required column.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        history: pd.DataFrame | None = None,
        dataset: Mapping[str, Any] | None = None,
        maximize: bool = True,
        budget: float | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        offline, stages = options.pop("offline", None), options.pop("stages", None)
        self.options = SearchOptions.of(options)
        if budget is not None and not (np.isfinite(budget) and budget > 0):
            raise OptionError(f"{budget=}: expected a positive cost, or None.")
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise OptionError(f"{seed=}: expected an integer, zero or more.")
        if dataset is not None and not isinstance(dataset, Mapping):
            raise OptionError(f"dataset must be a mapping of meta-features, got {type(dataset)}.")
        self.encoder = SpaceEncoder(space)
        self.beginnings = Beginnings(self.encoder, stages)
        self.maximize, self.budget, self.seed = bool(maximize), budget, int(seed)
        self.dataset = {str(k): plain(v) for k, v in dataset.items()} if dataset else None
        self.book = Book()
        self.offline = self._offline_models(offline, history)
        self._opinion = OfflineOpinion(
            self.offline, self.encoder, self.dataset, self.seed, self.options.without
        )
        self._cached: tuple[int, TaskModel] | None = None

    def _offline_models(
        self, offline: OfflineModels | None, history: pd.DataFrame | None
    ) -> OfflineModels | None:
        """The given models, else fitted ones; None for the strategies that use no history."""
        if offline is not None and not isinstance(offline, OfflineModels):
            raise OptionError(f"offline must be OfflineModels, got {type(offline).__name__}.")
        if offline is not None:
            offline.check(self.encoder, self.maximize)
        if self.options.strategy not in ("autopipe", "ranker"):
            return None
        if offline is None and history is not None:
            offline = OfflineModels.fit(
                history,
                self.encoder.space,
                self.seed,
                maximize=self.maximize,
                use_meta=self.dataset is not None,
            )
        return offline

    def ask(
        self,
        n: int = 1,
        candidates: pd.DataFrame | None = None,
        fraction: float | None = None,
    ) -> list[Proposal]:
        """The next n trials to run; may be called again before the earlier ones are told.

        Args:
            n: How many.
            candidates: Configurations to choose from, one a row, column names with or without
                "config."; None searches the whole space.
            fraction: Where new trials are to stop, when the caller knows better; None leaves it
                to the search.

        Returns:
            n proposals. A configuration is repeated only to continue a stopped trial, or when
            every candidate has been proposed.

        Raises:
            OptionError: n < 1, or the candidates lack a column.
        """
        if not isinstance(n, int | np.integer) or n < 1:
            raise OptionError(f"{n=}: expected the number of proposals, at least 1.")
        if fraction is not None and not 0 < fraction <= 1:
            raise OptionError(f"{fraction=}: expected a fraction in (0, 1], or None.")
        given = given_candidates(candidates, self.encoder) if candidates is not None else None
        with torch_threads(self.options.n_threads):
            model = self._model()
            turn = self._round(model, given)
            self.book.asks += 1
            proposals = []
            for _ in range(n):
                choice = choose(turn, model, self.options, self.budget)
                if choice.continues is None:
                    choice = replace(choice, fraction=fraction or self._rung(turn, model, choice))
                proposal = self._proposal(choice, model)
                self.book.proposals[proposal.id] = proposal
                turn.add(proposal)
                proposals.append(proposal)
        return proposals

    def finalist(self) -> Proposal | None:
        """The stopped trial most worth running to full length, whatever the budget says.

        Returns:
            A proposal of kind "continue", or None when no stopped trial has a fair chance to beat
            the best full-length one.
        """
        with torch_threads(self.options.n_threads):
            model = self._model()
            turn = self._round(model, None)
            self.book.asks += 1
            choice = next_finalist(turn, model)
            if choice is None:
                return None
            proposal = self._proposal(choice, model)
            self.book.proposals[proposal.id] = proposal
        return proposal

    def rung(self) -> float:
        """Fraction of the schedule at which the next new trial would be stopped."""
        if self.options.strategy not in BAYESIAN:
            return 1.0
        with torch_threads(self.options.n_threads):
            return planned_rung(self._model(), self.options.rungs)

    def tell(
        self,
        id: str,
        score: float | None,
        score_se: float = 0.0,
        cost: float = 1.0,
        fraction: float = 1.0,
        signals: Mapping[str, float] | None = None,
        state: str = "completed",
        start: float | None = None,
    ) -> None:
        """Report one proposal's outcome.

        Args:
            id: The proposal's id.
            score: Validation score at `fraction`; NaN or None counts as a failure.
            score_se: Its standard error.
            cost: What this proposal cost (a continuation: its own part only).
            fraction: Share of the full schedule run when the score was taken.
            signals: Early training signals, named as the history's `signal.*` columns.
            state: "completed", "stopped" (may be continued later) or "failed".
            start: Share of the schedule that the trial did not have to run; None: what the trial
                that it continues had run, else 0.

        Raises:
            UnknownProposalError: No such proposal.
            AlreadyToldError: Told before.
            OptionError: A value is out of range.
        """
        self.book.record(
            id, score=score, score_se=score_se, cost=cost, fraction=fraction, signals=signals,
            state=state, start=start,
        )  # fmt: skip

    def best(self) -> Recommendation:
        """The configuration to use: best posterior mean among those run at full length.

        Falls back on partial runs, then on the offline opinion's first choice.

        Raises:
            NothingToRecommendError: No score was told and there is no history.
        """
        ranked = self.ranking()
        return ranked[0] if ranked else self._untested(self._model())

    def ranking(self) -> list[Recommendation]:
        """All trials with a score, as `best` would choose among them: full-length ones come first.

        For who keeps a model of each trial and cannot keep them all. Empty before a first score.
        """
        with torch_threads(self.options.n_threads):
            model = self._model()
            if not model.observed:
                return []
            mean, sd, _ = model.predict(model.configs)
        return [
            Recommendation(model.configs[i], float(mean[i]), float(sd[i]), model.observed[i].id)
            for i in np.lexsort((-model.sign * mean, ~model.full))
        ]

    def observations(self) -> pd.DataFrame:
        """Every proposal in order: id, kind, continues, config.*, fraction, score, score_se,
        cost, state ("pending" while untold), predicted mean and sd now, prior_score."""
        if not self.book.proposals:
            return pd.DataFrame(columns=["id", "kind", "fraction", "score", "state"])
        proposals = list(self.book.proposals.values())
        with torch_threads(self.options.n_threads):
            mean, sd, prior = self._model().predict([p.config for p in proposals])
        rows = zip(map(self.book.row, proposals), mean, sd, prior, strict=True)
        return pd.DataFrame(
            row | {"predicted": float(mu), "predicted_sd": float(sigma), "prior_score": float(m)}
            for row, mu, sigma, m in rows
        )

    # -- files ---------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the whole state into a folder: JSON and .cbm files, no pickle."""
        write_state(
            Path(folder),
            {
                "space": self.encoder.space.to_serialized_dict(),
                "dataset": self.dataset,
                "maximize": self.maximize,
                "budget": self.budget,
                "seed": self.seed,
                "options": self.options.to_dict(),
                "stages": self.beginnings.stages_of is not None,
                "book": self.book.to_dict(),
            },
            self.offline,
        )

    @classmethod
    def load(cls, folder: str | Path, stages: StagesOf | None = None) -> Search:
        """A search that goes on exactly where `save` left it.

        Args:
            folder: That it was saved to.
            stages: As the search was made with, for it is not saved.

        Raises:
            SurrogateError: The folder holds no search, or one of another format.
            OptionError: `stages` are missing, or the search had none.
        """
        payload, offline = read_state(Path(folder), stages is not None)
        search = cls(
            ConfigurationSpace.from_serialized_dict(payload["space"]),
            dataset=payload["dataset"],
            maximize=payload["maximize"],
            budget=payload["budget"],
            seed=payload["seed"],
            offline=offline,
            stages=stages,
            **payload["options"],
        )
        search.book = Book.from_dict(payload["book"])
        return search

    # -- inside --------------------------------------------------------------------------------

    def _model(self) -> TaskModel:
        """The task model of the present observations, fitted once for each number of them."""
        told = len(self.book.told)
        if self._cached is None or self._cached[0] != told:
            sign, flat = 1.0 if self.maximize else -1.0, self.options.price == "flat"
            model = TaskModel(self._opinion, self.book, sign, self.beginnings, flat)
            self._cached = (told, model)
        return self._cached[1]

    def _round(self, model: TaskModel, given: list[Config] | None) -> Round:
        """Candidates and random numbers of one `ask`, derived from (seed, number of asks)."""
        rng = np.random.default_rng([self.seed, self.book.asks])
        taken: dict[tuple, int] = {}
        for proposal in self.book.proposals.values():
            key = self.encoder.key(proposal.config)
            taken[key] = taken.get(key, 0) + (proposal.kind == "new")
        pool = given if given is not None else self._pool(model, rng, taken)
        started = sum(p.kind == "new" for p in self.book.proposals.values())
        pending = list(self.book.pending)
        runs = self.book.runs + [(p.config, p.fraction) for p in pending]
        return Round(
            self.encoder, pool, given is not None, taken, pending, rng, self.seed, started,
            self.beginnings, runs,
        )  # fmt: skip

    def _rung(self, turn: Round, model: TaskModel, choice: Choice) -> float:
        """The chosen fraction, or a later one where the score at this one is known."""
        [rung] = distinct_rungs(turn, model, [choice.config], choice.fraction, self.options.rungs)
        return float(rung)

    def _pool(
        self, model: TaskModel, rng: np.random.Generator, taken: dict[tuple, int]
    ) -> list[Config]:
        incumbents: list[Config] = []
        if model.observed and self.options.strategy in BAYESIAN:
            order = np.argsort(-model.sign * model.predict(model.configs)[0], kind="stable")
            incumbents = [model.configs[i] for i in order[:5]]
        liked = self._opinion.favourites
        if self.options.strategy == "autopipe" and self._opinion.prior is None:
            liked = []  # a history without skill has no favourites worth a place
        pool = generated_candidates(self.encoder, self.options.n_candidates, incumbents, liked, rng)
        if all(self.encoder.key(c) in taken for c in pool):  # a small space is nearly exhausted
            pool = self.encoder.sample(4096, self.seed)
        return pool

    def _proposal(self, choice: Choice, model: TaskModel) -> Proposal:
        bayesian_search = self.options.strategy in BAYESIAN
        [mean], [sd], [prior] = model.predict([choice.config], use_gp=bayesian_search)
        begun = choice.continues.fraction if choice.continues is not None else 0.0
        begun = max(begun, float(model.begun([choice.config])[0]))
        part = max(choice.fraction - begun, 0.0)
        cost = float(np.exp(model.log_cost([choice.config])[0])) * part
        return Proposal(
            id=self.book.next_id(),
            config=dict(choice.config),
            fraction=float(choice.fraction),
            expected_score=float(mean),
            expected_cost=cost,
            expected_score_sd=float(sd),
            prior_score=float(prior),
            residual=float(mean - prior),
            failure_probability=float(model.failure_probability([choice.config])[0]),
            kind="new" if choice.continues is None else "continue",
            continues=choice.continues.id if choice.continues is not None else None,
            hedge=choice.hedge,
        )

    def _untested(self, model: TaskModel) -> Recommendation:
        if not self._opinion.known:
            raise NothingToRecommendError(
                "nothing to recommend: no trial has a score yet and there is no history. "
                "Call ask(), run the proposals and tell() their scores."
            )
        config = self._opinion.favourites[0]
        [mean], [sd], _ = model.predict([config])
        return Recommendation(dict(config), float(mean), float(sd), None)
