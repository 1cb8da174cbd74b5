"""Scorers of reasoning_gym: none that evaluates text runs unasked, and the others score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from tasks.inputs.catalog import load_catalog
from trials.data.dataset import Dataset, DatasetCard, Row
from trials.io.errors import RewardError, RewardFailed
from trials.scoring.gym import SAFE_SCORERS, UNSAFE_SCORERS
from trials.scoring.rewards import Reward, build_reward


def row(answer: str, metadata: dict[str, Any]) -> Row:
    return Row([{"role": "user", "content": "?"}], [], answer, metadata, Path("rows.jsonl"), 7)


def scorer(name: object, allowed: bool = False, rows: list[Row] | None = None) -> Reward:
    card = DatasetCard(reward="reasoning_gym", reward_args={"dataset": name})
    dataset = Dataset(Path("memory"), card, "", {"train": rows or []}, False)
    return build_reward(dataset, allow_user_code=allowed)


def test_every_scorer_was_looked_at() -> None:
    assert not SAFE_SCORERS & set(UNSAFE_SCORERS)
    assert set(DATASETS) == SAFE_SCORERS | set(UNSAFE_SCORERS)


def test_no_scorer_that_is_safe_evaluates_text() -> None:
    for name in sorted(SAFE_SCORERS):
        names = set(DATASETS[name][0].score_answer.__code__.co_names)
        assert not names & {"eval", "exec", "parse_expr", "sympify", "compile"}, name


@pytest.mark.parametrize("name", sorted(UNSAFE_SCORERS))
def test_the_others_are_refused_unasked(name: str) -> None:
    with pytest.raises(RewardError, match=r"not run unasked\n  expected: .*--allow-user-code"):
        scorer(name)


def test_code_in_a_row_or_a_completion_is_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(touched)!r}).touch()"
    for name, metadata in [
        ("intermediate_integration", {"variable": "x", "integrand": code}),
        ("bitwise_arithmetic", {"problem": code}),
        ("countdown", {"numbers": [1], "target": 1}),
    ]:
        with pytest.raises(RewardError, match="unasked"):
            scorer(name)(code, row(code, metadata))
    assert not touched.exists()


def test_with_permission_an_unsafe_scorer_scores() -> None:
    reward = scorer("countdown", allowed=True)
    assert reward("2*(3+4)", row("2*(3+4)", {"numbers": [2, 3, 4], "target": 14})) == 1.0


@pytest.mark.parametrize("name", ["chain_sum", "syllogism", "rotate_matrix", "time_intervals"])
def test_own_answers_score(name: str) -> None:
    reward = scorer(name)
    for entry in reasoning_gym.create_dataset(name, size=3, seed=5):
        example = row(entry["answer"], entry["metadata"])
        assert reward(f"Answer: {entry['answer']}", example) == 1.0
        assert reward("Answer: nothing", example) < 0.1


@pytest.mark.parametrize("name", ["no_such", 3, ["chain_sum"], None])
def test_an_unknown_scorer_is_refused(name: object) -> None:
    with pytest.raises(RewardError, match=r"there is no dataset .*expected the name"):
        scorer(name)


def test_a_scorer_that_stumbles_over_a_completion_gives_nothing() -> None:
    reward = scorer("calendar_arithmetic")
    example = row("4", {"task": "count_days"})
    assert reward("9" * 400, example) == 0.0  # its division overflows
    assert reward("7" * 20_000, example) == 0.0


def test_a_scorer_that_stumbles_over_its_own_row_is_told() -> None:
    with pytest.raises(
        RewardFailed, match=r"KeyError: 'metadata|KeyError: 'task'[\s\S]*rows.jsonl:7"
    ):
        scorer("calendar_arithmetic")("4", row("4", {}))


def test_the_catalog_needs_safe_scorers_only() -> None:
    for name, entry in load_catalog().datasets.items():
        assert entry.reward != "reasoning_gym" or entry.dataset in SAFE_SCORERS, name
