"""The table of trials says what its scores are, and why the star is where it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tasks.config.settings import Budget
from tasks.monitoring.console import render_summary, render_trials
from tasks.report.build import write_report
from tasks.runs.folder import RunFolder
from tests.tasks.conftest import MakeRun, on_proxy
from trials.spec.records import write_json

BEST, OTHER, PARTIAL = "t010", "t003", "t001"


def shown(run: RunFolder, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_trials(run, width))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def score(run: RunFolder, **scores: list[float]) -> None:
    """Gives trials these outcomes, one a validation row, and all others none and a low score."""
    for trial in run.trials():
        result = trial.result
        if result is None or result.score is None:
            continue
        outcomes = scores.get(trial.spec.trial_id, [])
        mean = sum(outcomes) / len(outcomes) if outcomes else 0.01
        changed = result.model_copy(update={"score": mean, "outcomes": outcomes})
        write_json(trial.folder / "result.json", changed)


def words(text: str) -> str:
    return " ".join(text.split())


def test_over_how_many_rows_a_score_was_measured_is_said(make_run: MakeRun) -> None:
    run = make_run()
    score(run, **{BEST: [1.0] * 128, OTHER: [0.0] * 128})
    assert "A score is the mean over 128 validation rows, ± its standard error." in shown(run)
    score(run, **{BEST: [1.0] * 128, OTHER: [0.0] * 32})
    assert "mean over 32 to 128 validation rows" in shown(run)


def closing(run: RunFolder, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_summary(run, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_trial_and_the_comparison_are_shown(make_run: MakeRun) -> None:
    run = make_run()
    text = shown(run, 140)
    assert all(f"t{index:03d}" in text for index in range(12))
    for each in ("t010 ★", "failed: out_of_memory", "continue of t001"):
        assert each in text
    for each in ("0.712 ± 0.023", "0.604 ± 0.023", "0.030 ± 0.010", "+0.108 ± 0.021"):
        assert each in closing(run)


def test_a_run_without_trials_says_so(make_run: MakeRun) -> None:
    assert "no trial has a score yet" in closing(make_run(trials=0, finished=False))


def test_an_unfinished_run_says_how_far_it_is_and_recommends_nothing(make_run: MakeRun) -> None:
    run = make_run(trials=3, finished=False)
    assert "not finished; best so far: t000" in closing(run)
    assert "autopipe tune --resume run-1" in closing(run)
    info = run.info()
    budget = Budget(amount=6, unit="trials")
    settings = info.settings.model_copy(update={"budget": budget})
    run.write_info(info.model_copy(update={"settings": settings}))
    text = shown(run)
    assert text.startswith("Trials of run-1, unfinished: 2 of 6 trials")
    assert "★" not in text
    assert "This run is not finished (2 of 6 trials)" in write_report(run).read_text()


def test_a_star_on_the_highest_score_needs_no_reason(make_run: MakeRun) -> None:
    run = make_run()
    score(run, **{BEST: [1.0] * 20, OTHER: [1.0] * 10 + [0.0] * 10})
    assert "the highest score" not in shown(run)


@pytest.mark.parametrize(("better", "verdict"), [(2, "within noise"), (70, "more than noise")])
def test_a_star_beside_a_higher_score_has_a_reason(
    make_run: MakeRun, better: int, verdict: str
) -> None:
    run = make_run()
    rows = 100
    low = [1.0] * 20 + [0.0] * (rows - 20)
    high = [1.0] * (20 + better) + [0.0] * (rows - 20 - better)
    score(run, **{BEST: low, OTHER: high})
    told = words(shown(run))
    assert f"★ {BEST} does not have the highest score: {OTHER} has +0.{better:02d}" in told
    assert f"on the same 100 rows, {verdict}." in told
    predicted = {row["trial_id"]: row["predicted"] for row in run.observations()}
    other = f"{predicted[OTHER]:.3f} ± 0.060 for {OTHER}"
    assert f"the expected score, 0.740 ± 0.030 for {BEST} and {other}: it weighs" in told


def test_a_higher_score_of_a_partial_trial_is_told_as_that(make_run: MakeRun) -> None:
    run = make_run()
    score(run, **{BEST: [0.0, 1.0], PARTIAL: [1.0, 1.0]})
    told = words(shown(run))
    assert f"{PARTIAL} has 1.000, but at 30 % of full length" in told


def test_trials_on_other_rows_are_not_compared_row_by_row(make_run: MakeRun) -> None:
    run = make_run()
    score(run, **{BEST: [0.0, 1.0], OTHER: [1.0, 1.0, 1.0]})
    told = words(shown(run))
    assert f"{OTHER} has 1.000. The star goes by" in told


def test_trials_of_a_proxy_are_named_in_the_widest_and_the_narrowest_table(
    make_run: MakeRun,
) -> None:
    run = make_run()
    before = closing(run)
    assert "12 trials (1 failed, 4 at full length)" in before
    on_proxy(run, OTHER, PARTIAL)
    assert words(shown(run, 140)).count("new on tiny-s") == 2
    narrow = [line for line in shown(run, 60).splitlines() if "on tiny-s" in line]
    assert [OTHER in narrow[1], PARTIAL in narrow[0]] == [True, True]
    assert "12 trials (2 on smaller models, 1 failed, 4 at full length)" in closing(run)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_every_width_holds_the_tables(make_run: MakeRun, width: int) -> None:
    run = make_run()
    text = shown(run, width)
    end = closing(run, width)
    for each in (text, end):
        assert "…" not in each
        assert max(map(len, each.splitlines())) <= width
    assert "t010 ★" in text
    assert "0.712 ± 0.023" in words(end)
