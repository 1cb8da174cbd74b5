"""The report of a run with a smaller model: its trials are told from those of the target."""

from __future__ import annotations

import math

import pytest

from tasks.config.settings import Budget
from tasks.report import figures, figures_curves, figures_space
from tasks.report.context import report_context
from tasks.report.proxies import proxy_rows
from tasks.runs.folder import PLAN, RunFolder
from tasks.runs.tables import RunTables
from tests.tasks.conftest import MakeRun, on_proxy, write_run
from tests.tasks.report.test_build import Document, report
from trials.spec.records import write_json

# At full length, partial, stopped, and failed.
PROXIED = ("t003", "t005", "t007", "t004")
LEFT = "it ranks the configurations in reverse"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with a proxy; tests read it only."""
    return on_proxy(write_run(tmp_path_factory.mktemp("runs") / "run-1"), *PROXIED, left=LEFT)


@pytest.fixture(scope="module")
def tables(run: RunFolder) -> RunTables:
    return RunTables.read(run)


@pytest.fixture(scope="module")
def document(run: RunFolder) -> Document:
    return report(run)


def test_trials_are_counted_model_by_model(document: Document) -> None:
    counted = (
        "3 full length, 5 partial on models/tiny-m; "
        "1 full length, 1 partial, 1 stopped, 1 failed on tiny-s"
    )
    assert counted in document.words


def test_a_section_says_what_the_smaller_model_did(document: Document) -> None:
    assert "proxies" in [a.get("id") for name, a in document.elements if name == "section"]
    assert f"tiny-s 100k 4 0.40 8 % 7 0.62 0.35 to 0.81 {LEFT}" in document.words
    assert "learning rates in the tables of this page are those that ran" in document.words


def test_the_plan_says_what_the_smaller_model_costs(make_run: MakeRun) -> None:
    run = on_proxy(make_run())
    text = "plan: about 9 fit\nproxies: tiny-s at 0.1 of a full trial; they may spend a quarter"
    write_json(run.path / PLAN, {"text": text})
    said = "Before the first trial: plan: about 9 fit; proxies: tiny-s at 0.1 of a full trial; they"
    assert said in report(run).words


def test_a_run_without_proxies_has_no_word_about_them(make_run: MakeRun) -> None:
    document = report(make_run())
    assert "proxies" not in [a.get("id") for name, a in document.elements if name == "section"]
    assert "smaller model" not in document.words
    assert "4 full length, 6 partial, 1 stopped, 1 failed" in document.words


def test_before_the_first_trial_nothing_is_known_of_a_proxy(make_run: MakeRun) -> None:
    run = on_proxy(make_run(trials=0, finished=False))
    run.write_observations([])
    assert "Nothing is known of them before the first trial" in report(run).words


def test_the_share_is_that_of_the_budget_of_the_search(run: RunFolder, tables: RunTables) -> None:
    [row] = proxy_rows(tables)
    seconds = tables.trials[tables.trials.model == "tiny-s"].seconds.sum()
    assert row.share == pytest.approx(seconds / (2 * 25 * 60))
    full = tables.info.model_copy(update={"first_budget": Budget(amount=4, unit="full")})
    [row] = proxy_rows(RunTables(**{**vars(tables), "info": full}))
    assert row.share == pytest.approx(0.1)


def test_a_wide_interval_leaves_no_correlation_to_state(tables: RunTables) -> None:
    def shown(**changes: float | None) -> tuple[str, str]:
        level = tables.proxies[0].model_copy(update=changes)
        [row] = proxy_rows(RunTables(**{**vars(tables), "proxies": [level]}))
        return row.correlation, row.interval

    assert shown(low=-0.2, high=0.9) == ("hardly known", "−0.20 to 0.90")
    assert shown(low=None, high=None) == ("0.62", "–")
    assert shown(trials=0, past=0) == ("–", "–")


def test_a_forecast_names_the_model_and_has_its_own_score(
    run: RunFolder, tables: RunTables, document: Document
) -> None:
    forecasts = {each["trial_id"]: each for each in report_context(run)["forecasts"]}
    score = tables.trials.set_index("trial_id").score
    assert [forecasts[name]["model"] for name in ("t000", "t003")] == ["", "tiny-s"]
    assert forecasts["t003"]["final"] == score["t003"]
    assert all(math.isnan(forecasts[name]["final"]) for name in ("t004", "t005", "t007"))
    assert forecasts["t000"]["final"] == score["t000"]
    cells = [a.get("data-key") for name, a in document.elements if name == "td"]
    assert cells.count("new on tiny-s") == 2 * len(PROXIED)  # here and in the table of trials


def test_whatever_is_fitted_to_scores_takes_those_of_the_target(
    run: RunFolder, tables: RunTables, document: Document
) -> None:
    scored = {f"t{index:03d}" for index in range(12)} - {"t001", *PROXIED}  # t006 continues t001
    final = figures_space.final_configurations(tables.trials)
    assert set(final.trial_id) == scored
    assert set(figures.observed_with_prior(tables.trials).trial_id) == scored
    assert report_context(run)["prior_configurations"] == len(scored)
    assert "Left out: it takes 8 configurations" in document.words
    assert "has 7 on models/tiny-m" in document.words
    assert "Not drawn: 5 trials without a score, continued by another trial or on a" in (
        document.words
    )


def test_charts_give_trials_of_a_proxy_marks_of_their_own(tables: RunTables) -> None:
    for figure in (
        figures.progress(tables.trials, base=0.02, default=None),
        figures.fractions(tables.trials),
    ):
        drawn = {trace.name: len(trace.x) for trace in figure.data}
        kinds = {kind: drawn.get(kind) for kind in ("full length", "partial", "stopped", "failed")}
        assert kinds == {"full length": 3, "partial": 5, "stopped": None, "failed": 1}
        assert drawn["on tiny-s"] == 3
    mark = next(trace for trace in figure.data if trace.name == "on tiny-s")
    assert "new on tiny-s" in mark.text[0]
    assert "predicted final of the tuned model" in mark.text[0]
    styles = list(figures.trial_styles(tables.trials).values())
    assert len(set(styles)) == len(styles)


def test_curves_of_a_proxy_are_grey_and_dotted(tables: RunTables) -> None:
    figure = figures_curves.curve(tables.curves, tables.trials, "score", "score")
    lines = {trace.meta: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert lines["t003"].line.dash == "dot"
    assert lines["t003"].line.color == figures.GREY
    assert lines["t003"].text.startswith("on tiny-s<br>")
    assert lines["t009"].line.dash == "solid"
    assert not lines["t009"].text.startswith("on ")
