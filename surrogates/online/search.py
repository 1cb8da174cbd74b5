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
    Only,
    OptionError,
    Proposal,
    Recommendation,
)
from surrogates.history.past import past_trials
from surrogates.offline.models import OfflineModels
from surrogates.online.context import AskContext, Choice, distinct_rungs
from surrogates.online.offline_prior import OfflinePrior
from surrogates.online.proxies import ProxyState, open_proxies, proxy_states
from surrogates.online.saved import read_state, write_state
from surrogates.online.strategies import BAYESIAN, best_finalist, choose, planned_rung
from surrogates.online.task_model import TaskModel, torch_threads
from surrogates.online.trial_log import TrialLog
from surrogates.space.axes import plain
from surrogates.space.candidates import generated_candidates, given_candidates
from surrogates.space.encoding import SpaceEncoder
from surrogates.space.levels import Levels
from surrogates.space.options import SearchOptions
from surrogates.space.stages import SharedStages, StagesOf


class Search:
    """Chooses which configurations to try. See `surrogates.core.base` for the contract.

    Args:
        space: Any ConfigSpace space.
        history: Past trials (see `surrogates.history.table.read_history`), or None.
        dataset: Meta-features of the new dataset, keys with or without "meta.", or None.
        maximize: Whether more score is better, here and in the history.
        budget: Total cost that may be spent, in the caller's units; None if unknown.
        seed: Same seed and same calls, same proposals.
        **options: See `SearchOptions`; `offline=OfflineModels` skips fitting the history again, and
            `stages` gives the stages of a configuration's run (see `surrogates.space.stages`),
            so that no trial is proposed only to measure what another one has measured. For several
            levels of size: `levels` and `level_meta` (see `surrogates.space.levels.Levels`), and
            `past`, a table of full-length trials of this dataset on smaller levels, with `level`
            or `model_id`, `score`, `config.*` and perhaps `score_se`; a row with a score whose
            configuration is not in the space, or lacks an active hyperparameter, is refused.

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
        past = options.pop("past", None)
        self.levels = Levels.of(options.pop("levels", None), options.pop("level_meta", None))
        self.options = SearchOptions.of(options, levels=bool(self.levels.proxies))
        if budget is not None and not (np.isfinite(budget) and budget > 0):
            raise OptionError(f"{budget=}: expected a positive cost, or None.")
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise OptionError(f"{seed=}: expected an integer, zero or more.")
        if dataset is not None and not isinstance(dataset, Mapping):
            raise OptionError(f"dataset must be a mapping of meta-features, got {type(dataset)}.")
        self.encoder = SpaceEncoder(space)
        self.shared_stages = SharedStages(self.encoder, stages)
        self.maximize, self.budget, self.seed = bool(maximize), budget, int(seed)
        self.dataset = {str(k): plain(v) for k, v in dataset.items()} if dataset else None
        known = past_trials(past, self.encoder, self.maximize, self.levels)
        self.trial_log = TrialLog(past=known, target=self.levels.target)
        self.offline = self._offline_models(offline, history)
        self._priors = [
            OfflinePrior(
                self.offline, self.encoder, self._seen_from(meta), self.seed, self.options.ablate
            )
            for meta in self.levels.meta
        ]
        self._prior = self._priors[-1]
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
                pairs=[(name, self.levels.target) for name in self.levels.proxies],
            )
        return offline

    def _seen_from(self, meta: Mapping[str, Any]) -> dict[str, Any] | None:
        """The dataset's meta-features as they are with a level's model."""
        return self.dataset if not meta or self.dataset is None else self.dataset | dict(meta)

    def ask(
        self,
        n: int = 1,
        candidates: pd.DataFrame | None = None,
        fraction: float | None = None,
        only: Only | None = None,
    ) -> list[Proposal]:
        """The next n trials to run; may be called again before earlier ones are reported.

        Args:
            n: Of proposals.
            candidates: Configurations to choose from, one per row, column names with or without
                "config."; None searches the whole space.
            fraction: Fraction at which new trials are to stop, when the caller knows better; None
                leaves it to the search.
            only: "target": propose nothing on a smaller level; "proxies": nothing else, as long as
                there is one that may be used.

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
            ctx = self._context(given, only)
            self.trial_log.asks += 1
            proposals = []
            for _ in range(n):
                choice = choose(ctx)
                if choice.continues is None:
                    asked = [choice.config], choice.fraction, choice.level
                    choice = replace(
                        choice, fraction=fraction or distinct_rungs(ctx, *asked).item()
                    )
                proposals.append(self._proposal(choice, ctx.model))
        return proposals

    def finalist(self) -> Proposal | None:
        """The stopped trial most worth running to full length, regardless of the budget.

        None when no stopped trial has a fair chance to beat the best full-length one.
        """
        with torch_threads(self.options.n_threads):
            model = self._model()
            self.trial_log.asks += 1
            choice = best_finalist(self.trial_log.stopped, model)
            return self._proposal(choice, model) if choice is not None else None

    def cheapest_proxy(self) -> float | None:
        """Relative cost of a full trial on the cheapest level that may be used beside the target.

        None where none may.
        """
        if not self.levels.proxies:
            return None
        with torch_threads(self.options.n_threads):
            model = self._model()
            spent = self.trial_log.spent + model.pending_cost(self.trial_log.pending)
            found = open_proxies(model, spent, self.budget)
        return min(map(model.level_cost, found), default=None)

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
            id: Of the proposal.
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
        self.trial_log.record(
            id, score=score, score_se=score_se, cost=cost, fraction=fraction, signals=signals,
            state=state, start=start,
        )  # fmt: skip

    def best(self) -> Recommendation:
        """The configuration to use: best posterior mean among those run at full length.

        Falls back on partial runs, then on the configuration with the best offline prior mean.

        Raises:
            NothingToRecommendError: There is no score and no history.
        """
        if ranked := self.ranking():
            return ranked[0]
        if self.offline is None or self.offline.ranker is None:
            raise NothingToRecommendError(self.trial_log.why_nothing())
        config = self._prior.favourites[0]
        [mean], [sd], _ = self._model().predict([config])
        return Recommendation(dict(config), float(mean), float(sd))

    def ranking(self) -> list[Recommendation]:
        """All trials with a score, as `best` would choose among them: full-length ones come first.

        For callers that cannot keep a trained model of every trial. Empty before a first score.
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

    def proxies(self) -> list[ProxyState]:
        """What each smaller level has done so far, the smallest first; empty without levels."""
        with torch_threads(self.options.n_threads):
            return proxy_states(self._model())

    def observations(self) -> pd.DataFrame:
        """Every proposal in order: id, kind, continues, config.*, fraction, score, score_se,
        cost, state ("pending" until observed), predicted mean and sd now, prior_score."""
        if not self.trial_log.proposals:
            return pd.DataFrame(columns=["id", "kind", "fraction", "score", "state"])
        proposals = list(self.trial_log.proposals.values())
        with torch_threads(self.options.n_threads):
            mean, sd, prior = self._model().predict([p.config for p in proposals])
        rows = zip(map(self.trial_log.row, proposals), mean, sd, prior, strict=True)
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
                "options": self.options.model_dump(mode="json"),
                "stages": self.shared_stages.stages_of is not None,
                "levels": self.levels.to_dict(),
                "book": self.trial_log.to_dict(),
            },
            self.offline,
        )

    @classmethod
    def load(cls, folder: str | Path, stages: StagesOf | None = None) -> Search:
        """A search that resumes exactly where `save` left it, given its `stages`, if it had some.

        Raises:
            SurrogateError: The folder holds no search, or one of another format.
            OptionError: `stages` are missing, or the search had none.
        """
        payload, offline = read_state(Path(folder), stages is not None)
        levels = payload.get("levels") or {}
        search = cls(
            ConfigurationSpace.from_serialized_dict(payload["space"]),
            dataset=payload["dataset"],
            maximize=payload["maximize"],
            budget=payload["budget"],
            seed=payload["seed"],
            offline=offline,
            stages=stages,
            levels=levels.get("costs"),
            level_meta=levels.get("meta"),
            **payload["options"],
        )
        search.trial_log = TrialLog.from_dict(payload["book"], search.levels.target)
        return search

    # -- internals -----------------------------------------------------------------------------

    def _model(self) -> TaskModel:
        """The task model of the present observations, fitted once for each number of them."""
        observed = len(self.trial_log.observations)
        if self._cached is None or self._cached[0] != observed:
            sign, flat = 1.0 if self.maximize else -1.0, self.options.price == "flat"
            model = TaskModel(
                self._priors, self.trial_log, sign, self.shared_stages, self.levels, flat
            )
            self._cached = (observed, model)
        return self._cached[1]

    def _context(self, given: list[Config] | None, only: Only | None) -> AskContext:
        """Candidates and random numbers of one `ask`, derived from (seed, number of asks)."""
        model, rng = self._model(), np.random.default_rng([self.seed, self.trial_log.asks])
        pool = given if given is not None else self._pool(model, rng)
        return AskContext(
            model, pool, given is not None, rng, self.seed, self.options, self.budget, only
        )

    def _pool(self, model: TaskModel, rng: np.random.Generator) -> list[Config]:
        incumbents: list[Config] = []
        if model.observed and self.options.strategy in BAYESIAN:
            order = np.argsort(-model.sign * model.predict(model.configs)[0], kind="stable")
            incumbents = [model.configs[i] for i in order[:5]]
        favourites = self._prior.favourites
        if self.options.strategy == "autopipe" and self._prior.mean_prior is None:
            favourites = []  # a history without skill has no favourites worth a place
        pool = generated_candidates(
            self.encoder, self.options.n_candidates, incumbents, favourites, rng
        )
        taken = {self.encoder.key(p.config) for p in self.trial_log.proposals.values()}
        if all(self.encoder.key(c) in taken for c in pool):  # a small space is nearly exhausted
            pool = self.encoder.sample(4096, self.seed)
        return pool

    def _proposal(self, choice: Choice, model: TaskModel) -> Proposal:
        """The choice as a proposal, which is recorded."""
        bayesian_search = self.options.strategy in BAYESIAN
        level = self.levels.target if choice.level is None else choice.level
        [mean], [sd], [offline_part] = model.predict([choice.config], bayesian_search, level)
        completed = float(model.completed_fraction([choice.config], level)[0])
        if choice.continues is not None:
            completed = max(choice.continues.fraction, completed)
        full_cost = float(np.exp(model.log_cost([choice.config])[0])) * model.level_cost(level)
        proposal = Proposal(
            id=f"{len(self.trial_log.proposals) + 1:04d}",
            config=dict(choice.config),
            fraction=float(choice.fraction),
            expected_score=float(mean),
            expected_cost=full_cost * max(choice.fraction - completed, 0.0),
            expected_score_sd=float(sd),
            prior_score=float(offline_part),
            residual=float(mean - offline_part),
            failure_probability=float(model.failure_probability([choice.config], level)[0]),
            kind="new" if choice.continues is None else "continue",
            continues=choice.continues.id if choice.continues is not None else None,
            hedge=choice.hedge,
            level=level,
        )
        self.trial_log.proposals[proposal.id] = proposal
        return proposal
