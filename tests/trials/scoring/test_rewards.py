from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import reasoning_gym
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.helpers import write_dataset, write_rows
from trials.data.dataset import Dataset, DatasetCard, Row, load_dataset
from trials.io.errors import RewardError, RewardFailed
from trials.scoring import trl_reward
from trials.scoring.rewards import (
    Reward,
    RewardTerm,
    build_reward,
    overlong_penalty,
    training_rewards,
)
from trials.spec.hyperparameters import Hyperparameters

PLACE = "rows.jsonl:7"


def row(answer: str, metadata: dict[str, Any] | None = None, prompt: str = "?") -> Row:
    return Row(
        prompt=[{"role": "user", "content": prompt}],
        completion=[{"role": "assistant", "content": answer}],
        answer=answer,
        metadata=metadata or {},
        file=Path("rows.jsonl"),
        line=7,
    )


def dataset_of(answers: list[str], kind: str, **card: Any) -> Dataset:
    return Dataset(
        path=Path("memory"),
        card=DatasetCard(reward=kind, **card),
        fingerprint="",
        splits={"train": [row(answer) for answer in answers]},
        reward_inferred=False,
    )


def reward_of(kind: str, answers: list[str] | None = None, **card: Any) -> Reward:
    some = ["3", "1/2"] if kind == "numeric" else ["yes", "no", "maybe"]
    return build_reward(dataset_of(answers or some, kind, **card))


def test_exact_match_with_another_marker() -> None:
    reward = reward_of("exact_match", answer_marker="####")
    assert reward("one #### 5", row("5")) == 1.0
    assert reward("one Answer: 5", row("5")) == 0.0


@pytest.mark.parametrize("answer", ["twelve", "N/A", "9^9^9^9"])
def test_numeric_refuses_answers_that_nothing_could_equal(answer: str, tmp_path: Path) -> None:
    rows = [{"prompt": "?", "completion": str(n), "answer": str(n)} for n in range(3)]
    write_dataset(tmp_path, card="reward: numeric\n")
    write_rows(tmp_path / "train.jsonl", [*rows, {**rows[0], "answer": answer}])
    with pytest.raises(RewardError, match=rf"train\.jsonl:4: the answer '{re.escape(answer)}'"):
        build_reward(load_dataset(tmp_path))


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?", fullmatch=True))
def test_plain_numbers_can_be_read(answer: str) -> None:
    """They are not asked for when a reward is built, so the answer must be known."""
    assert reward_of("numeric", [answer])(answer, row(answer)) == 1.0


@pytest.mark.parametrize("name", ["chain_sum", "spell_backward", "basic_arithmetic"])
def test_reasoning_gym_round_trip(name: str) -> None:
    reward = reward_of("reasoning_gym", reward_args={"dataset": name})
    for entry in reasoning_gym.create_dataset(name, size=5, seed=3):
        example = row(entry["answer"], entry["metadata"], entry["question"])
        assert reward(entry["answer"], example) == 1.0
        assert reward(f"Answer: {entry['answer']}", example) == 1.0
        assert reward(entry["answer"] + "00", example) < 1.0


@pytest.mark.parametrize(
    ("kind", "completion", "answer", "right"),
    [
        ("exact_match", "so it is\nAnswer: New York", "New York", 1.0),
        ("exact_match", "New York City", "New York", 0.0),
        ("choice", "The answer is yes, of course yes", "yes", 1.0),
        ("choice", "yes and no", "yes", 0.0),
        ("numeric", r"so $\frac{1}{2}$", "0.5", 1.0),
        ("numeric", "1001", "1000", 0.0),
    ],
)
def test_the_kind_names_the_reader(kind: str, completion: str, answer: str, right: float) -> None:
    assert reward_of(kind)(completion, row(answer)) == right


def test_choices_that_differ_in_case_only() -> None:
    assert reward_of("choice", ["Yes", "yes", "No"])("yes", row("Yes")) == 1.0


def test_unknown_rewards_and_arguments_are_refused() -> None:
    with pytest.raises(RewardError, match=r"'f1' is unknown; expected one of exact_match, choice"):
        reward_of("f1")
    with pytest.raises(RewardError, match=r"reward_args of 'numeric'.*digits"):
        reward_of("numeric", reward_args={"digits": 3})


# Code of the user


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_rewards.py").write_text(
        """
import numpy as np
from pathlib import Path

Path(__file__).with_name("imported").touch()
VALUES = {"nan": float("nan"), "inf": float("inf"), "none": None, "text": "1.0",
          "list": [1.0], "true": True, "half": np.float32(0.5), "int": np.int64(1),
          "array": np.ones((2, 3)), "huge": 10**400}

def by_name(completion, prompt, answer, metadata, **kwargs):
    return VALUES[completion]

def failing(completion, prompt, answer, metadata):
    if completion == "exit":
        raise SystemExit(1)
    if completion == "memory":
        raise MemoryError
    raise KeyError(completion)

def weighted(completion, prompt, answer, metadata, weight=1.0):
    assert prompt[0]["role"] == "user"
    return weight * (completion == answer) + metadata.get("bonus", 0)
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(tmp_path / "imported")


def test_user_code_is_not_even_imported_unasked(user_module: str) -> None:
    with pytest.raises(RewardError, match="--allow-user-code"):
        build_reward(dataset_of(["1"], "my_rewards:weighted"))
    assert not Path(user_module).exists()


@pytest.mark.usefixtures("user_module")
def test_user_code_is_run_when_allowed() -> None:
    dataset = dataset_of(["1"], "my_rewards:weighted", reward_args={"weight": 3})
    reward = build_reward(dataset, allow_user_code=True)
    assert reward("1", row("1")) == 3.0
    assert reward("2", row("1", {"bonus": 0.5})) == 0.5


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize("kind", ["my_rewards:absent", "no_such_module:f", ":f", "my_rewards:"])
def test_user_code_that_cannot_be_imported(kind: str) -> None:
    with pytest.raises(RewardError, match="cannot be imported"):
        build_reward(dataset_of(["1"], kind), allow_user_code=True)


@pytest.mark.usefixtures("user_module")
def test_what_user_code_returns_is_checked() -> None:
    kind = "my_rewards:by_name"
    reward = build_reward(dataset_of(["1"], kind), allow_user_code=True)
    assert [reward(name, row("1")) for name in ("true", "half", "int")] == [1.0, 0.5, 1.0]
    assert all(type(reward(name, row("1"))) is float for name in ("true", "half", "int"))
    for name, found in [
        ("none", "None;"),
        ("text", "a str ('1.0')"),
        ("list", "a list ([1.0])"),
        ("array", "a ndarray of shape (2, 3)"),
        ("nan", "nan;"),
        ("inf", "inf;"),
        ("huge", "a int (1000"),
    ]:
        with pytest.raises(RewardFailed, match=re.escape(f"{kind}' returned {found}")) as caught:
            reward(name, row("1"))
        assert f"expected one finite number for each completion\n  on {PLACE}" in str(caught.value)


@pytest.mark.usefixtures("user_module")
def test_what_user_code_raises_is_said_with_its_row() -> None:
    reward = build_reward(dataset_of(["1"], "my_rewards:failing"), allow_user_code=True)
    found = rf"'my_rewards:failing' raised KeyError: 'x'\s+on {re.escape(PLACE)}.*completion 'x'"
    with pytest.raises(RewardFailed, match=found) as caught:
        reward("x", row("1"))
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(RewardFailed, match="raised SystemExit"):
        reward("exit", row("1"))
    with pytest.raises(MemoryError):  # out of memory is another end than a broken reward
        reward("memory", row("1"))


# The terms of the RL reward


def terms_of(limit: int = 100, card: dict[str, Any] | None = None, **h: Any) -> list[RewardTerm]:
    dataset = dataset_of(["yes", "no"], "choice", **(card or {}))
    return training_rewards(build_reward(dataset), Hyperparameters(**h), dataset.card, limit)


def test_the_task_reward_is_the_only_term_unless_others_are_asked_for() -> None:
    (term,) = terms_of()
    assert (term.name, term.weight) == ("choice", 1.0)
    assert [term.score(text, row("yes"), 3) for text in ("yes", "no")] == [1.0, 0.0]


def test_other_terms_have_their_weights() -> None:
    terms = terms_of(rl_format_weight=0.2, rl_length_weight=0.5)
    assert [(t.name, t.weight) for t in terms] == [
        ("choice", 1.0),
        ("format", 0.2),
        ("length", 0.5),
    ]
    text = "So it is.\nAnswer: yes"
    assert [t.score(text, row("yes"), 100) for t in terms] == [1.0, 1.0, -1.0]
    assert [t.score("yes", row("yes"), 10) for t in terms] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Answer: 3", 1.0),
        ("Thus\nAnswer: 3\nbecause", 1.0),
        ("Answer:\n3", 0.0),
        ("Answer:  ", 0.0),
        ("Answer: 3 Answer: 3", 0.0),
        ("3", 0.0),
        ("", 0.0),
    ],
)
def test_the_usual_form_is_one_answer_after_the_marker(text: str, right: float) -> None:
    assert terms_of(rl_format_weight=1.0)[1].score(text, row("yes"), 1) == right


def test_the_dataset_may_ask_for_another_form() -> None:
    card = {"answer_format": r"^<think>.*</think>\s*Answer: \w+$"}
    form = terms_of(card=card, rl_format_weight=1.0)[1]
    assert form.score("<think>so\nit is</think> Answer: yes", row("yes"), 1) == 1.0
    assert form.score("Answer: yes", row("yes"), 1) == 0.0
    with pytest.raises(RewardError, match=r"answer_format '\(' .*not a regular expression"):
        build_reward(dataset_of(["yes"], "choice", answer_format="("))


def test_long_completions_are_punished_softly() -> None:
    assert [overlong_penalty(tokens, 100) for tokens in (0, 75, 80, 90, 100, 200)] == pytest.approx(
        [0, 0, -0.2, -0.6, -1, -1]
    )
    assert [overlong_penalty(tokens, 1) for tokens in (0, 1)] == [0, -1]


@given(st.integers(1, 10_000), st.integers(0, 20_000))
def test_a_longer_completion_is_never_better(limit: int, tokens: int) -> None:
    assert -1 <= overlong_penalty(tokens + 1, limit) <= overlong_penalty(tokens, limit) <= 0
    assert overlong_penalty(limit, limit) == -1
    assert overlong_penalty(math.floor(limit - max(1, limit / 4)), limit) == 0


def test_the_terms_are_the_same_on_the_command_line_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "dataset.yaml"
    card.write_text("reward: exact_match\nanswer_marker: '####'\n")
    monkeypatch.setenv(trl_reward.CARD_VARIABLE, str(card))
    chats = [[{"role": "assistant", "content": text}] for text in ("so #### 5", "Answer: 5")]
    assert trl_reward.format_reward(completions=chats, prompts=[]) == [1.0, 0.0]
    monkeypatch.setenv(trl_reward.COMPLETION_LIMIT_VARIABLE, "100")
    tokens = [[0] * 50, [0] * 90]
    assert trl_reward.length_reward(completion_ids=tokens) == pytest.approx([0.0, -0.6])
    monkeypatch.delenv(trl_reward.COMPLETION_LIMIT_VARIABLE)
    with pytest.raises(RewardError, match=r"AUTOPIPE_COMPLETION_LIMIT is ''; expected"):
        trl_reward.length_reward(completion_ids=tokens)


def test_alternatives_count_on_the_command_line_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "dataset.yaml"
    card.write_text("reward: exact_match\n")
    monkeypatch.setenv(trl_reward.CARD_VARIABLE, str(card))
    scores = trl_reward.reward(
        prompts=[[{"role": "user", "content": "?"}]] * 2,
        completions=[[{"role": "assistant", "content": text}] for text in ("Eboracum", "Rome")],
        answer=["York", "York"],
        metadata=["{}", "{}"],
        alternatives=[["Eboracum"], []],
    )
    assert scores == [1.0, 0.0]
