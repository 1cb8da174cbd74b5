from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reasoning_gym
from hypothesis import given
from hypothesis import strategies as st

from trials.dataset import Dataset, DatasetCard, Row
from trials.errors import RewardError
from trials.rewards import Reward, build_reward, final_answer


def row(answer: str, metadata: dict[str, Any] | None = None, prompt: str = "?") -> Row:
    return Row(
        prompt=[{"role": "user", "content": prompt}],
        completion=[{"role": "assistant", "content": answer}],
        answer=answer,
        metadata=metadata or {},
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
    return build_reward(dataset_of(answers or ["yes", "no", "maybe"], kind, **card))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        ("  Paris \n", "Paris"),
        ("I think.\nAnswer: Paris\nbecause", "Paris"),
        ("Answer: Rome. No. Answer: Paris", "Paris"),
        ("Answer:\nParis", "Paris"),
        ("Answer:", ""),
        ("", ""),
    ],
)
def test_the_final_answer_follows_the_last_marker(text: str, answer: str) -> None:
    assert final_answer(text, "Answer:") == answer


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("New York", 1.0),
        ("  new\tyork. ", 1.0),
        ("so it is\nAnswer: New York", 1.0),
        ("New York City", 0.0),
        ("Answer: New York\nAnswer: Rome", 0.0),
        ("", 0.0),
    ],
)
def test_exact_match(completion: str, right: float) -> None:
    assert reward_of("exact_match")(completion, row("New York")) == right


def test_exact_match_with_another_marker() -> None:
    reward = reward_of("exact_match", answer_marker="####")
    assert reward("one #### 5", row("5")) == 1.0
    assert reward("one Answer: 5", row("5")) == 0.0


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("yes", 1.0),
        ("Yes.", 1.0),
        ("The answer is yes, of course yes", 1.0),
        ("no, not sure\nAnswer: yes", 1.0),
        ("yes and no", 0.0),
        ("no", 0.0),
        ("yesterday", 0.0),
        ("", 0.0),
        ("yes maybe no", 0.0),
    ],
)
def test_choice(completion: str, right: float) -> None:
    assert reward_of("choice")(completion, row("yes")) == right


def test_a_choice_within_another_choice() -> None:
    reward = reward_of("choice", ["York", "New York", "C", "C++"])
    assert reward("New York", row("New York")) == 1.0
    assert reward("New York", row("York")) == 0.0
    assert reward("York", row("York")) == 1.0
    assert reward("York, or New York", row("New York")) == 0.0
    assert reward("C++", row("C++")) == 1.0
    assert reward("C", row("C++")) == 0.0


def test_choices_that_differ_in_case_only() -> None:
    assert reward_of("choice", ["Yes", "yes", "No"])("yes", row("Yes")) == 1.0


@given(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=5))
def test_choice_is_right_only_alone(named: list[str]) -> None:
    reward = reward_of("choice", list("ABCDE"))
    assert reward(" or ".join(named), row("A")) == float(set(named) == {"A"})


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("1000", "1,000", 1.0),
        ("1,000", "1000", 1.0),
        ("1,000.0", "1000", 1.0),
        ("0.5", "1/2", 1.0),
        (r"so $\frac{1}{2}$", "0.5", 1.0),
        ("12 apples", "12", 1.0),
        ("Answer: -7", "-7", 1.0),
        ("7", "-7", 0.0),
        ("1001", "1000", 0.0),
        ("none", "3", 0.0),
        ("", "0", 0.0),
        ("2^10", "1024", 1.0),
        (r"$x^2 + y^2$", "$y^2+x^2$", 1.0),
    ],
)
def test_numeric(completion: str, answer: str, right: float) -> None:
    assert reward_of("numeric")(completion, row(answer)) == right


@pytest.mark.parametrize(
    "power",
    ["10^10^10", "9**9**9", "9^9^9^9", "(9^9)^9999999", "9^{9^9}", "9^{9 ^ 9}", "9^99999999999"],
)
def test_numeric_does_not_work_out_endless_powers(power: str) -> None:
    scores: list[float] = []
    worker = threading.Thread(
        target=lambda: scores.append(reward_of("numeric")(power, row("9"))), daemon=True
    )
    worker.start()
    worker.join(timeout=20)
    assert scores == [0.0]


@given(st.integers(-(10**9), 10**9))
def test_numeric_accepts_what_it_is_given(number: int) -> None:
    reward = reward_of("numeric")
    assert reward(f"{number:,}", row(str(number))) == 1.0
    assert reward(str(number + 1), row(str(number))) == 0.0


@pytest.mark.parametrize("name", ["chain_sum", "spell_backward", "basic_arithmetic"])
def test_reasoning_gym_round_trip(name: str) -> None:
    reward = reward_of("reasoning_gym", reward_args={"dataset": name})
    for entry in reasoning_gym.create_dataset(name, size=5, seed=3):
        example = row(entry["answer"], entry["metadata"], entry["question"])
        assert reward(entry["answer"], example) == 1.0
        assert reward(f"Answer: {entry['answer']}", example) == 1.0
        assert reward(entry["answer"] + "00", example) < 1.0


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
          "list": [1.0], "true": True, "half": np.float32(0.5), "int": np.int64(1)}

def by_name(completion, prompt, answer, metadata, **kwargs):
    return VALUES[completion]

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
    for name, found in [("none", "NoneType"), ("text", "str"), ("list", "list")]:
        with pytest.raises(RewardError, match=f"{kind}' returned a {found}"):
            reward(name, row("1"))
    for name in ("nan", "inf"):
        with pytest.raises(RewardError, match=f"{kind}' returned {name}"):
            reward(name, row("1"))


@given(st.text(max_size=40), st.sampled_from(["exact_match", "choice", "numeric"]))
def test_any_text_has_a_finite_score(text: str, kind: str) -> None:
    value = reward_of(kind)(text, row("yes"))
    assert math.isfinite(value)
    assert value in np.array([0.0, 1.0])
