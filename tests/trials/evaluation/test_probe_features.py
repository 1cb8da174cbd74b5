"""What a base model makes of a dataset: features of completions, and of rewards of samples."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trials.helpers import TINY, write_dataset
from trials.data.dataset import Row, load_dataset, render
from trials.evaluation.evaluate import Evaluator
from trials.evaluation.probe_features import completion_features, model_features, reward_features
from trials.io.errors import DatasetError, ModelError
from trials.models.loading import load_model
from trials.models.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("probe"))).splits["train"][:6]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(str(TINY))


@pytest.fixture
def model() -> Any:
    return load_model(TINY)


def emptied(row: Row) -> Row:
    return replace(row, completion=[{"role": "assistant", "content": ""}])


def test_the_loss_is_that_of_the_completion_alone(
    rows: list[Row], tokenizer: Any, model: Any
) -> None:
    row = rows[0]
    features = completion_features(model, tokenizer, [row])
    prompt = tokenizer(render(tokenizer, row.prompt, generation_prompt=True))["input_ids"]
    whole = tokenizer(render(tokenizer, row.prompt + row.completion))["input_ids"]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([whole])).logits[0]
    by_hand = [
        -float(logits[i - 1].log_softmax(-1)[whole[i]]) for i in range(len(prompt), len(whole))
    ]
    assert features["probe_loss"] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)
    likeliest = [int(logits[i - 1].argmax()) == whole[i] for i in range(len(prompt), len(whole))]
    assert features["probe_accuracy"] == pytest.approx(sum(likeliest) / len(likeliest))
    assert 0 < features["probe_entropy"] < math.log(model.config.vocab_size)
    assert features["prompt_tokens"] == len(prompt)
    assert features["completion_tokens"] == len(by_hand)


def test_rows_without_any_completion_token_have_no_say_in_the_loss(
    rows: list[Row], tokenizer: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As chat templates do that write no end of the turn: an empty answer then has no token.
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}\n{% endif %}"
        "{% endfor %}",
    )
    whole = completion_features(model, tokenizer, rows[:3])
    features = completion_features(model, tokenizer, [*rows[:3], emptied(rows[3])])
    assert features["probe_loss"] == pytest.approx(whole["probe_loss"])
    assert features["completion_tokens"] == pytest.approx(0.75 * whole["completion_tokens"])
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: none of the 2 completions looked at"):
        completion_features(model, tokenizer, [emptied(row) for row in rows[:2]])


def test_a_broken_model_is_refused(rows: list[Row], tokenizer: Any, model: Any) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(ModelError, match="loss of the model on the completions is nan"):
        completion_features(model, tokenizer, rows)


def test_the_size_of_a_model(model: Any) -> None:
    features = model_features(model)
    assert 10 ** features["model_log_parameters"] == pytest.approx(model.num_parameters())
    assert features["model_layers"] == model.config.num_hidden_layers


def sampler(
    tokenizer: Any, rows: list[Row], reward: Callable[[str, Row], float], samples: int = 8
) -> Evaluator:
    return Evaluator(tokenizer, rows, reward, 4, batch_size=16, pass_samples=samples)


def test_rewards_that_never_differ_have_no_spread(
    rows: list[Row], tokenizer: Any, model: Any
) -> None:
    features = reward_features(
        model, sampler(tokenizer, rows, lambda _, row: float(row == rows[0]))
    )
    assert features["sampled_reward"] == pytest.approx(1 / len(rows))
    assert features["pass_at_1"] == features["pass_at_8"] == pytest.approx(1 / len(rows))
    assert features["sampled_reward_sd"] == features["sampled_spread_share"] == 0


def test_rewards_that_differ_within_a_row_have(rows: list[Row], tokenizer: Any, model: Any) -> None:
    coin = random.Random(0)
    features = reward_features(
        model, sampler(tokenizer, rows, lambda *_: float(coin.random() < 0.5))
    )
    assert features["sampled_spread_share"] > 0.8
    assert 0 < features["sampled_reward_sd"] <= 0.5
    assert features["pass_at_1"] == pytest.approx(features["sampled_reward"])
    assert features["pass_at_1"] < features["pass_at_8"] <= 1


def test_samples_are_seeded_and_differ(rows: list[Row], tokenizer: Any, model: Any) -> None:
    def length(completion: str, _: Row) -> float:
        return float(len(completion))

    # Hot, for these questions are among the few that this model never gets wrong.
    hot = replace(sampler(tokenizer, rows, length), pass_temperature=4.0)
    first = reward_features(model, hot)
    torch.manual_seed(123)  # the state outside has no say
    assert reward_features(model, hot) == first
    assert first["sampled_reward_sd"] > 0
