"""What two runs have in common, and what a person is told where they differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.config.settings import Budget
from tasks.runs.folder import RunFolder
from tasks.versioning.reproduce import RunComparison, compare_runs
from tests.tasks.conftest import MakeRun

Change = Callable[[dict[str, Any]], object]
# Trials whose results have a score; one of the twelve failed.
SCORED = 11


@pytest.fixture
def pair(make_run: MakeRun) -> tuple[RunFolder, RunFolder]:
    """A run and its repetition under another name, which is the same so far."""
    run = make_run()
    again = RunFolder(run.path.with_name("run-2"))
    shutil.copytree(run.path, again.path)
    return run, again


def edit(file: Path, change: Change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def edit_proposal(run: RunFolder, order: int, change: Change) -> None:
    file = run.path / "proposals.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines[order])
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def result_of(run: RunFolder, order: int) -> Path:
    return run.trial_folder(f"t{order:03d}") / "result.json"


def test_the_same_run_is_the_same(pair: tuple[RunFolder, RunFolder]) -> None:
    assert compare_runs(*pair) == RunComparison(12, SCORED, ())
    assert compare_runs(*pair).same


def test_another_score_is_named_and_the_rest_is_compared(pair: tuple[RunFolder, RunFolder]) -> None:
    edit(result_of(pair[0], 2), lambda result: result.update(score=0.5))
    edit(result_of(pair[1], 2), lambda result: result.update(score=0.25))
    edit(result_of(pair[1], 5), lambda result: result.update(score=result["score"] + 1e-13))
    found = compare_runs(*pair)
    assert found == RunComparison(12, SCORED, ("trial 002 scored 0.5, now 0.25",))
    assert not found.same


def test_a_trial_that_has_no_score_this_time_is_named(pair: tuple[RunFolder, RunFolder]) -> None:
    edit(result_of(pair[0], 3), lambda result: result.update(score=0.5))
    edit(result_of(pair[1], 3), lambda result: result.update(score=None))
    result_of(pair[0], 7).unlink()
    edit(result_of(pair[1], 7), lambda result: result.update(score=0.125))
    assert compare_runs(*pair).differences == (
        "trial 003 scored 0.5, now without a score",
        "trial 007 was without a score, now 0.125",
    )


def test_another_proposal_ends_the_comparison(pair: tuple[RunFolder, RunFolder]) -> None:
    _, again = pair
    edit_proposal(again, 4, lambda line: line["config"].update(sft_learning_rate=0.123))
    edit_proposal(again, 6, lambda line: line.update(fraction=0.7))
    edit(result_of(again, 5), lambda result: result.update(score=0.0))
    found = compare_runs(*pair)
    [difference] = found.differences
    assert difference.startswith("proposal 004: 1 of ")
    assert "sft_learning_rate was" in difference
    assert difference.endswith("now 0.123")
    assert found.scores == 4


def test_another_model_of_a_trial_is_another_proposal(pair: tuple[RunFolder, RunFolder]) -> None:
    edit_proposal(pair[1], 3, lambda proposal: proposal.update(model="tiny-s"))
    [found] = compare_runs(*pair).differences
    assert found == "proposal 003: a trial of the target, now of tiny-s"


def test_another_length_of_a_trial_is_another_proposal(pair: tuple[RunFolder, RunFolder]) -> None:
    edit_proposal(pair[1], 1, lambda line: line.update(fraction=0.7))
    assert compare_runs(*pair).differences == ("proposal 001: fraction 0.3, now 0.7",)


def test_a_repetition_that_got_further_says_why_it_may(pair: tuple[RunFolder, RunFolder]) -> None:
    run, again = pair
    file = again.path / "proposals.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    found = compare_runs(run, again)
    assert found.proposals == 10
    assert "12 proposals, now 10: a budget in seconds" in found.differences[0]
    info = run.info()
    trials = info.settings.model_copy(update={"budget": Budget.parse("12")})
    run.write_info(info.model_copy(update={"settings": trials}))
    assert compare_runs(run, again).differences == ("12 proposals, now 10",)


def test_a_model_that_changed_is_named_though_all_is_the_same(
    pair: tuple[RunFolder, RunFolder],
) -> None:
    for run, fingerprint in zip(pair, ("aaaa", "bbbb"), strict=True):
        edit(
            run.trial_folder("t000") / "spec.json",
            lambda spec, value=fingerprint: spec.update(model_fingerprint=value),
        )
    assert compare_runs(*pair).differences == (
        "the model models/tiny-m has changed: fingerprint aaaa, now bbbb",
    )


def test_other_packages_are_named_once_something_differs(pair: tuple[RunFolder, RunFolder]) -> None:
    edit(pair[1].path / "run.json", lambda info: info["versions"].update(trl="2.0"))
    assert compare_runs(*pair).same
    edit_proposal(pair[1], 1, lambda line: line.update(fraction=0.7))
    assert compare_runs(*pair).differences[1:] == ("package trl was 1.16.0, now 2.0",)
