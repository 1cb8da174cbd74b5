"""The reward of a dataset: what its card names, else what its answers look like."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.helpers import write_dataset
from trials.data.answers import infer_reward
from trials.data.dataset import load_dataset


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["1", "-2", "3.5", "1,000", ".5"], "numeric"),
        (["yes", "no", "maybe"], "choice"),
        (["1", "no"], "choice"),
        (["a b c d e f g h i j k l m n o p"], "exact_match"),
        ([f"word{letter}" for letter in string.ascii_lowercase], "exact_match"),
    ],
)
def test_the_reward_is_inferred(answers: list[str], kind: str) -> None:
    assert infer_reward(answers) == kind


@given(st.lists(st.one_of(st.integers(), st.floats(-1e6, 1e6)), min_size=1))
def test_plain_numbers_are_numeric(values: list[float]) -> None:
    assert infer_reward([f"{value:.3f}" for value in values]) == "numeric"


def test_a_card_has_the_last_word(tmp_path: Path) -> None:
    inferred = load_dataset(write_dataset(tmp_path / "a"))
    assert (inferred.card.reward, inferred.reward_inferred) == ("numeric", True)
    named = load_dataset(write_dataset(tmp_path / "b", "reward: exact_match\n"))
    assert (named.card.reward, named.reward_inferred) == ("exact_match", False)
