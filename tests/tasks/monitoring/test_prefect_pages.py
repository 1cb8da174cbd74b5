"""What a run leaves on Prefect's pages, on a real server."""

from __future__ import annotations

import logging
import re
import time
from functools import partial

import pytest
from markdown_it import MarkdownIt
from prefect import flow
from prefect.client.orchestration import get_client

from tasks.monitoring.observers import BudgetSpent, RunFinished, RunStarted, TrialFinished
from tasks.monitoring.prefect_pages import (
    PrefectArtifacts,
    publish_markdown,
    publish_table,
    recommendation,
)
from tasks.runs.folder import RunFolder
from tests.tasks.conftest import MakeRun


def shown(run: RunFolder) -> dict[str, object]:
    @flow
    def show() -> None:
        trial = run.trials()[-1]
        with PrefectArtifacts(run) as observer:
            observer.notify(RunStarted(run.info()))
            observer.notify(TrialFinished(trial.spec, trial.result))
            observer.notify(RunFinished(run.summary()))
            observer.notify(BudgetSpent(0.2))
            observer.notify(BudgetSpent(0.425))  # may come while the one before is on its way

    show()
    with get_client(sync_client=True) as client:
        found = [each for each in client.read_artifacts() if (each.key or "").startswith("run-")]
    assert all(re.fullmatch(r"run-1-[0-9a-f]{6}-[a-z]+", artifact.key) for artifact in found)
    return {artifact.key.rpartition("-")[2]: artifact for artifact in found}


def test_progress_trials_recommendation_and_report_are_there(prefect_harness, make_run: MakeRun):
    run = make_run()
    found = shown(run)
    assert set(found) == {"budget", "trials", "recommendation", "report"}
    assert found["budget"].type == "progress"
    assert found["budget"].data == 42.5
    assert found["trials"].type == "table"
    assert "t003" in str(found["trials"].data)
    assert str(run.path / "best") in str(found["recommendation"].data)
    assert "(http://127.0.0.1:4201/run-1/report.html)" in str(found["report"].data)


def test_without_a_flow_nothing_is_tried(make_run: MakeRun):
    run = make_run()
    PrefectArtifacts(run).notify(RunStarted(run.info()))
    PrefectArtifacts(run).notify(RunFinished(run.summary()))


def test_a_name_from_outside_does_not_break_the_table(make_run: MakeRun):
    run = make_run()
    summary = run.summary()
    config = {"adapter": "a|b\nc", "rank": 4}
    best = summary.best.model_copy(update={"config": config})
    text = recommendation(run, summary.model_copy(update={"best": best}))
    assert "| `adapter` | a\\|b\\\\nc |" in text


def test_a_hostile_name_is_text_in_markdown(make_run: MakeRun):
    run = make_run()
    info, name = run.info(), "<img src=x> [a](https://example.org)"
    run.write_info(
        info.model_copy(update={"dataset": info.dataset.model_copy(update={"name": name})})
    )
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(recommendation(run, run.summary()))
    assert tokens[1].children is not None
    assert "".join(t.content for t in tokens[1].children if t.type == "text") == name
    kinds = {child.type for token in tokens for child in token.children or []}
    assert not kinds & {"link_open", "html_inline", "image"}


def away() -> None:
    raise ConnectionError("nobody answers")


def test_a_slow_server_holds_nothing_up_and_one_that_is_away_ends_nothing(
    prefect_harness, make_run: MakeRun, caplog: pytest.LogCaptureFixture
):
    run = make_run()

    @flow
    def show() -> float:
        with PrefectArtifacts(run) as observer:
            observer.notify(RunStarted(run.info()))
            start = time.monotonic()
            observer.post(away)
            observer.post(partial(time.sleep, 1.5))
            for share in (0.1, 0.2, 0.7):
                observer.notify(BudgetSpent(share))
            return time.monotonic() - start

    with caplog.at_level(logging.WARNING, "tasks.monitoring.prefect_pages"):
        assert show() < 1.0
    assert "could not be updated: nobody answers" in caplog.text
    with get_client(sync_client=True) as client:
        shown = {a.data for a in client.read_artifacts() if a.type == "progress"}
    assert 70.0 in shown


def test_a_run_that_is_ended_does_not_wait_for_the_server(prefect_harness, make_run: MakeRun):
    run, took = make_run(), []

    @flow
    def end() -> None:
        try:
            with PrefectArtifacts(run) as observer:
                observer.post(partial(time.sleep, 1.5))
                started = time.monotonic()
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            took.append(time.monotonic() - started)

    end()
    assert took[0] < 1.0


def test_tables_and_texts_are_put_on_the_page_of_a_flow_and_nowhere_else(prefect_harness):
    @flow
    def show() -> None:
        publish_table([{"dataset": "gcd", "trials": "3"}], "one-table", "three trials")
        publish_markdown("**gcd**: promoted", "one-text", "what came of it")

    publish_markdown("nobody sees this", "no-flow", "")
    show()
    with get_client(sync_client=True) as client:
        found = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert "no-flow" not in found
    assert "gcd" in str(found["one-table"].data)
    assert found["one-text"].data == "**gcd**: promoted"
