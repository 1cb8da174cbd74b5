"""What the search is for: using the past, stopping early, surviving bad advice."""

from __future__ import annotations

import time

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest

from surrogates.core.base import OptionError, Proposal
from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import Task, float_space, make_history


def regret(task: Task, search: Search, steps: int) -> float:
    """Gap to a good reference after full-length trials, in the task's score units."""
    reference = max(task.score(c) for c in task.encoder.sample(2000, seed=7))
    for _ in range(steps):
        [p] = search.ask()
        search.tell(p.id, task.score(p.config))
    return reference - task.score(search.best().config)


def run_partial(search: Search, task: Task, p: Proposal) -> None:
    """Run a proposal as a caller with checkpoints would, charging only what was run."""
    start = search.trial_log.observations[p.continues].fraction if p.continues else 0.0
    score, signals = task.score(p.config), {}
    if p.fraction < 1.0:
        score, signals = task.partial(p.config, p.fraction)
    state = "stopped" if p.fraction < 1.0 else "completed"
    search.tell(
        p.id, score, cost=p.fraction - start, fraction=p.fraction, signals=signals, state=state
    )


def test_past_datasets_help_at_once(space: cs.ConfigurationSpace, offline: OfflineModels) -> None:
    """With four trials: history beats no history on most of five unseen tasks."""
    wins = 0
    for seed in range(5):
        task = Task(space, 300 + seed, deviation=0.15)
        small = {"seed": seed, "n_candidates": 64}
        informed = Search(space, dataset=task.meta, offline=offline, rungs=(1.0,), **small)
        alone = Search(space, strategy="gp", **small)
        wins += regret(task, informed, 4) < regret(task, alone, 4)
    assert wins >= 4


def test_it_learns_without_history() -> None:
    """Median over seeds: the GP's best of 20 beats random search's best of 20."""
    space = float_space(4)
    gaps: dict[str, list[float]] = {"gp": [], "random": []}
    for seed in range(2):
        for strategy, out in gaps.items():
            search = Search(space, strategy=strategy, seed=seed, n_candidates=64)
            out.append(regret(Task(space, seed), search, 20))
    assert np.median(gaps["gp"]) < 0.3 * np.median(gaps["random"])


def test_the_first_batch_is_diverse(
    space: cs.ConfigurationSpace, offline: OfflineModels, encoder: SpaceEncoder
) -> None:
    cube = encoder.matrix([p.config for p in Search(space, offline=offline).ask(6)])
    distance = np.sqrt(((cube[:, None] - cube[None]) ** 2).mean(axis=2))
    assert distance[np.triu_indices(6, 1)].min() > 0.05


def test_proposals_explain_themselves(space: cs.ConfigurationSpace, offline: OfflineModels) -> None:
    search = Search(space, offline=offline, rungs=(1.0,))
    for p in search.ask(4):
        search.tell(p.id, Task(space, 1).score(p.config))
    [p] = search.ask()
    assert p.expected_score == pytest.approx(p.prior_score + p.residual)
    assert p.expected_score_sd > 0


class TestFidelity:
    def test_new_trials_start_at_the_rung_and_the_best_continue(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        task = Task(space, 400, deviation=0.15)
        search = Search(
            space, dataset=task.meta, budget=6.0, seed=0, offline=offline, n_candidates=64
        )
        made, before = [], []
        while search.trial_log.spent < 6.0:
            [p] = search.ask()
            before.append(search.trial_log.spent)
            run_partial(search, task, p)
            made.append(p)
        new = [p for p in made if p.kind == "new"]
        continued = [p for p in made if p.kind == "continue"]
        assert new[0].fraction in (0.1, 0.25, 0.5)
        assert len(new) > 6  # more configurations seen than full-length trials afforded
        assert continued
        by_id = {p.id: p for p in made}
        for p in continued:
            assert p.continues is not None
            assert p.config == by_id[p.continues].config
            assert p.fraction == 1.0
        assert len({p.continues for p in continued}) == len(continued)
        full = search.observations().query("fraction == 1.0")
        assert search.best().id in set(full["id"])
        # At the end of the budget nothing is begun that would have to be stopped again.
        share = 1.0 - search.options.finalist_share
        closing = [p for p, spent in zip(made, before, strict=True) if spent >= share * 6.0]
        assert closing
        assert {p.fraction for p in closing} == {1.0}

    def test_finalists_on_demand_finish_stopped_trials_and_then_there_are_none(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        task = Task(space, 402, deviation=0.15)
        search = Search(space, dataset=task.meta, offline=offline, rungs=(0.25,), n_candidates=200)
        assert search.finalist() is None
        stopped = search.ask(4)
        for p in stopped:
            run_partial(search, task, p)
        finished = []
        while (p := search.finalist()) is not None:
            assert p.kind == "continue"
            assert p.fraction == 1.0
            run_partial(search, task, p)
            finished.append(p.continues)
        assert finished
        assert len(set(finished)) == len(finished)
        assert set(finished) <= {p.id for p in stopped}

    def test_a_caller_may_ask_for_full_length_without_giving_up_early_stopping(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        task = Task(space, 403, deviation=0.15)
        search = Search(space, dataset=task.meta, offline=offline, rungs=(0.25,), n_candidates=200)
        assert search.rung() == 0.25
        [first] = search.ask(fraction=1.0)
        assert first.fraction == 1.0
        run_partial(search, task, first)
        [ruled_out] = search.ask()
        assert ruled_out.fraction == 0.25
        # A trial that the caller's own rules ended is told as final.
        search.tell(ruled_out.id, 0.0, fraction=1.0, state="stopped")
        assert search.ask()[0].fraction == 0.25
        with pytest.raises(OptionError, match="fraction"):
            search.ask(fraction=1.5)

    def test_a_partial_score_enters_through_the_predictor(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        task = Task(space, 401, deviation=0.15)
        search = Search(space, dataset=task.meta, offline=offline, rungs=(0.25,), n_candidates=200)
        for p in search.ask(5):
            run_partial(search, task, p)
        model = search._model()
        truth = np.array([task.score(c) for c in model.configs])
        seen = np.array([o.score for o in model.observed])
        assert (model.y_var > 0).all()
        assert np.abs(model.y - truth).mean() < np.abs(seen - truth).mean()
        assert search.best().id is not None  # partial results only: the best predicted one

    def test_a_caller_who_cannot_stop_early_gets_full_length(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        search = Search(space, offline=offline, n_candidates=200)
        [p] = search.ask()
        assert p.fraction < 1.0
        search.tell(p.id, 0.0)  # told at full length
        assert search.ask()[0].fraction == 1.0
        silent = Search(space, offline=offline, n_candidates=200)
        [p] = silent.ask()
        silent.tell(p.id, 0.0, fraction=p.fraction, state="stopped")  # no signals
        assert silent.ask()[0].fraction == 1.0

    def test_only_what_ran_to_full_length_is_recommended(self) -> None:
        search = Search(float_space(2), strategy="gp", seed=0, n_candidates=64)
        [in_full], [stopped] = search.ask(), search.ask()
        search.tell(in_full.id, 0.2)
        search.tell(stopped.id, 0.9, cost=0.5, fraction=0.5, state="stopped")
        assert search.best().id == in_full.id

    def test_partial_scores_without_a_predictor_are_taken_with_salt(self) -> None:
        search = Search(float_space(2), strategy="gp", seed=0, n_candidates=100)
        for i, p in enumerate(search.ask(6)):
            assert p.fraction == 1.0
            search.tell(p.id, float(i), fraction=0.5 if i % 2 else 1.0)
        model = search._model()
        assert (model.y_var[~model.full] > 0).all()
        assert (model.y_var[model.full] == 0).all()
        best = search.best()
        assert best.id in ("0001", "0003", "0005")

    def test_a_failed_continuation_leaves_the_estimate_and_is_not_repeated(
        self, space: cs.ConfigurationSpace, offline: OfflineModels
    ) -> None:
        task = Task(space, 402, deviation=0.15)
        search = Search(
            space,
            dataset=task.meta,
            budget=10.0,
            finalist_share=0.93,
            offline=offline,
            rungs=(0.25,),
            n_candidates=100,
        )
        for p in search.ask(3):  # spends the budget down to the finalists' share
            run_partial(search, task, p)
        [p] = search.ask()
        assert p.kind == "continue"
        search.tell(p.id, None, cost=0.1, state="failed")
        assert p.continues in [o.id for o in search.trial_log.usable("")]
        [q] = search.ask()
        assert q.continues != p.continues


def test_failing_regions_are_left() -> None:
    """Half the space fails: late proposals stay out of it."""
    space = float_space(2)
    search = Search(space, strategy="gp", seed=0, n_candidates=200)
    late = []
    for i in range(24):
        [p] = search.ask()
        fails = p.config["x00"] > 0.5
        search.tell(
            p.id, None if fails else p.config["x00"], state="failed" if fails else "completed"
        )
        late += [fails] if i >= 16 else []
    assert sum(late) <= 4
    assert search.best().score <= 0.55


def test_cheap_trials_are_preferred_early() -> None:
    """Cost rises a hundredfold along a column that is of no use: its cheap end is proposed."""
    proposed = []
    for seed in range(4):
        search = Search(float_space(2), strategy="gp", seed=seed, budget=1e6, n_candidates=200)
        for p in search.ask(10):
            cost = float(np.exp(4.6 * p.config["x00"]))
            search.tell(p.id, float(p.config["x01"]), cost=cost)
        proposed.append(search.ask()[0].config["x00"])
    assert np.mean(proposed) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("observed", "seconds"), [(100, 1.0), (500, 3.0)])
def test_a_suggestion_is_quick(observed: int, seconds: float) -> None:
    """15 dimensions, 2,000 candidates, one thread."""
    space = float_space(15)
    search = Search(space, strategy="gp", seed=0, n_candidates=2000)
    task = Task(space, 0)
    for p in search.ask(observed):
        search.tell(p.id, task.score(p.config))
    start = time.process_time()
    search.ask()
    assert time.process_time() - start < 2.0 * seconds  # twice the promise: the machine may be busy


@pytest.mark.slow
def test_bad_advice_does_little_harm(space: cs.ConfigurationSpace, history: pd.DataFrame) -> None:
    """Shuffled and inverted histories: median regret after 18 trials near that without any."""
    shuffled = history[history["fraction"] == 1.0].copy()
    shuffled["score"] = np.random.default_rng(0).permutation(shuffled["score"].to_numpy())
    inverted = make_history(space, tasks=6, trials=25, deviation=0.15, invert=True)
    gaps: dict[str, list[float]] = {"none": [], "shuffled": [], "inverted": []}
    models = {
        "none": None,
        "shuffled": OfflineModels.fit(shuffled, space),
        "inverted": OfflineModels.fit(inverted, space),
    }
    for seed in range(5):
        task = Task(space, 500 + seed, deviation=0.15)
        for name, offline in models.items():
            search = Search(space, dataset=task.meta, seed=seed, offline=offline)
            gaps[name].append(regret(task, search, 18))
    spread = np.std([task.score(c) for c in task.encoder.sample(500, seed=1)])
    for name in ("shuffled", "inverted"):
        assert np.median(gaps[name]) < np.median(gaps["none"]) + 0.1 * spread


@pytest.mark.slow
def test_stopping_early_pays_at_equal_cost(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """Median regret at a cost of five full trials, rungs against full length only."""
    gaps: dict[str, list[float]] = {"rungs": [], "full": []}
    for seed in range(7):
        task = Task(space, 600 + seed, deviation=0.15)
        reference = max(task.score(c) for c in task.encoder.sample(2000, seed=7))
        for name, rungs in (("rungs", None), ("full", (1.0,))):
            search = Search(
                space, dataset=task.meta, budget=5.0, seed=seed, offline=offline, rungs=rungs
            )
            while search.trial_log.spent < 5.0 - 1e-9:
                run_partial(search, task, search.ask()[0])
            gaps[name].append(reference - task.score(search.best().config))
    assert np.median(gaps["rungs"]) <= np.median(gaps["full"]) + 0.02


def test_an_opinion_no_better_than_the_hedge_at_its_rung_is_put_to_the_test(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """What it chose comes to nothing twice; what it did not choose is finished before any other."""
    task = Task(space, 400)
    search = Search(space, dataset=task.meta, offline=offline, n_candidates=100)
    first = search.ask(3)
    hedge = first[2]
    assert hedge.fraction < 1.0
    for p in first:
        signals = task.partial(p.config, p.fraction)[1]
        search.tell(p.id, 0.1, fraction=p.fraction, signals=signals, state="stopped")
    finished = 0
    while finished < 2:
        [p] = search.ask()
        assert p.continues != hedge.id
        score, state = (0.05, "completed") if p.fraction >= 1.0 else (0.1, "stopped")
        signals = task.partial(p.config, p.fraction)[1] if p.fraction < 1.0 else {}
        search.tell(p.id, score, fraction=p.fraction, signals=signals, state=state)
        finished += p.fraction >= 1.0
    [p] = search.ask()
    assert (p.kind, p.continues, p.fraction) == ("continue", hedge.id, 1.0)
    search.tell(p.id, 0.3)
    assert search.best().config == hedge.config


def test_a_hedge_is_known_by_what_it_is_and_not_by_its_place(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    """Where the third trial is the caller's, the fourth is the one that the prior did not choose.

    What the prior chose comes to nothing; then the hedge is finished, and not the caller's trial.
    """
    task = Task(space, 400)
    search = Search(space, dataset=task.meta, offline=offline, n_candidates=100, n_initial=4)
    first = search.ask(2)
    [callers] = search.ask(1, candidates=pd.DataFrame(task.encoder.sample(1, 3)), fraction=0.2)
    [hedge] = search.ask(1)
    assert [p.hedge for p in [*first, callers, hedge]] == [False, False, False, True]
    for p in [*first, callers, hedge]:
        signals = task.partial(p.config, p.fraction)[1]
        search.tell(p.id, 0.1, fraction=p.fraction, signals=signals, state="stopped")
    for p in [search.ask(1, fraction=1.0)[0] for _ in range(2)]:
        search.tell(p.id, 0.05, fraction=1.0)
    [p] = search.ask()
    assert (p.kind, p.continues) == ("continue", hedge.id)


def test_where_all_scores_are_one_it_spreads_out_at_full_length(
    space: cs.ConfigurationSpace, offline: OfflineModels
) -> None:
    search = Search(space, offline=offline, n_candidates=100, rungs=(1.0,))
    for _ in range(4):
        [p] = search.ask()
        search.tell(p.id, 0.0)
    blind = search.ask(4)
    assert all(p.fraction == 1.0 for p in blind)
    lonely = Search(space, strategy="sobol").ask(8)
    assert [p.config for p in blind] == [p.config for p in lonely[4:]]
    search.tell(blind[0].id, 0.2)
    told = Search.best(search)
    assert told.config == blind[0].config
