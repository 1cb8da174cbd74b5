from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.helpers import TINY, sums, write_dataset, write_rows
from trials.context import load_model, load_tokenizer
from trials.dataset import Dataset, load_dataset
from trials.evaluate import Evaluator, fixed_subset, standard_error
from trials.rewards import build_reward


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_the_standard_error_is_s_over_root_n(values: list[float]) -> None:
    scores = np.array(values)
    error = standard_error(scores)
    assert 0 < error <= 1
    if scores.min() < scores.max():
        assert error == pytest.approx(scores.std(ddof=1) / np.sqrt(len(scores)))


@given(st.integers(1, 500), st.sampled_from([0.0, 1.0]))
def test_all_right_or_all_wrong_is_still_uncertain(n: int, value: float) -> None:
    error = standard_error(np.full(n, value))
    assert error > standard_error(np.full(n + 1, value)) > 0


def test_the_standard_error_covers_the_mean() -> None:
    """As often as it should: the true rate lies within two errors in about 95 % of samples."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        scores = (rng.random(160) < 0.7).astype(float)
        covered += abs(scores.mean() - 0.7) < 2 * standard_error(scores)
    assert 0.92 <= covered / 500 <= 0.98


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = write_dataset(tmp_path_factory.mktemp("evaluate"))
    # Prompts of many lengths, so that batches are padded.
    rows = [
        {**row, "prompt": "Please. " * (index % 5) + row["prompt"]}
        for index, row in enumerate(sums(60, 60))
    ]
    write_rows(folder / "validation.jsonl", rows)
    return load_dataset(folder)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return load_model(TINY)


def evaluator(dataset: Dataset, batch_size: int, **changes: int) -> Evaluator:
    rows = fixed_subset(dataset.splits["validation"], 30)
    reward = build_reward(dataset)
    return Evaluator(load_tokenizer(str(TINY)), rows, reward, 4, batch_size, **changes)


def test_the_subset_is_fixed(dataset: Dataset) -> None:
    rows = dataset.splits["validation"]
    first = fixed_subset(rows, 10)
    random.seed(7)
    random.random()
    fixed_subset(rows, 20)
    assert fixed_subset(rows, 10) == first
    assert len({row.prompt[0]["content"] for row in first}) == 10
    assert first == sorted(first, key=rows.index)
    assert fixed_subset(rows, 60) == fixed_subset(rows, 1000) == rows


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_state_are_left_as_found(
    dataset: Dataset, model: torch.nn.Module, training: bool
) -> None:
    model.train(training)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    evaluator(dataset, 16)(model)
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_is_restored_after_an_error(dataset: Dataset, model: torch.nn.Module) -> None:
    broken = evaluator(dataset, 16)
    broken.reward = lambda completion, row: 1 / 0
    model.train()
    with pytest.raises(ZeroDivisionError):
        broken(model)
    assert model.training


def test_the_batch_size_does_not_change_the_outcomes(
    dataset: Dataset, model: torch.nn.Module
) -> None:
    """Padding is masked; float32 leaves no ties to break differently."""
    measured = [evaluator(dataset, size)(model) for size in (1, 7, 30, 64)]
    assert all(one == measured[0] for one in measured)
    assert measured[0].rows == len(measured[0].outcomes) == 30
    assert measured[0].score == pytest.approx(np.mean(measured[0].outcomes))
    assert set(measured[0].outcomes) <= {0.0, 1.0}


def test_the_completions_are_those_of_the_rows_alone(
    dataset: Dataset, model: torch.nn.Module
) -> None:
    """Texts, not only scores: unpadded greedy generation by hand gives the same."""
    heard: list[str] = []
    listening = evaluator(dataset, 30)
    listening.reward = lambda completion, row: float(heard.append(completion) is None)
    listening(model)
    tokenizer = listening.tokenizer
    for row, completion in zip(listening.rows, heard, strict=True):
        ids = tokenizer.apply_chat_template(
            row.prompt, add_generation_prompt=True, return_dict=False, return_tensors="pt"
        )
        model.eval()
        for _ in range(4):
            token = model(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, token.view(1, 1)], dim=1)
            if token == tokenizer.eos_token_id:
                break
        prompt = tokenizer.apply_chat_template(
            row.prompt, add_generation_prompt=True, return_dict=False
        )
        assert completion == tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True)


def test_generated_tokens_are_counted(dataset: Dataset, model: torch.nn.Module) -> None:
    counting = evaluator(dataset, 16)
    counting(model)
    once = counting.tokens
    assert once > 0
    counting(model)
    assert counting.tokens == 2 * once


def test_the_files_of_the_model_are_where_the_tests_look() -> None:
    assert (Path(TINY) / "model.safetensors").is_file()
