from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.helpers import TINY, sums, write_dataset, write_rows
from trials.data.dataset import Dataset, load_dataset
from trials.data.subsets import fixed_subset, rows_outside_subsets
from trials.evaluation.evaluate import Evaluator, estimate_pass_at_k, standard_error
from trials.io.errors import SettingsError
from trials.models.loading import load_model
from trials.models.tokenizer import load_tokenizer
from trials.scoring.rewards import build_reward


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_the_standard_error_is_s_over_root_n(values: list[float]) -> None:
    scores = np.array(values)
    error = standard_error(scores)
    assert 0 < error <= 1
    if scores.std(ddof=1) > 0:
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


def evaluator(dataset: Dataset, batch_size: int, **changes: Any) -> Evaluator:
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


@pytest.mark.parametrize("measure", [Evaluator.__call__, Evaluator.pass_at_k])
@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_state_are_left_as_found(
    dataset: Dataset,
    model: torch.nn.Module,
    training: bool,
    measure: Callable[[Evaluator, torch.nn.Module], object],
) -> None:
    model.train(training)
    for _ in range(3):  # a thread that another test left behind may draw in between, but not always
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        measure(evaluator(dataset, 16, pass_k=1), model)
        if random.getstate() == before[1]:
            break
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


@pytest.mark.parametrize("batch_size", [7, 30])
def test_prompts_and_tokens_are_timed_apart(
    dataset: Dataset, model: torch.nn.Module, batch_size: int
) -> None:
    timed = evaluator(dataset, batch_size)
    start = time.monotonic()
    timed(model)
    took = time.monotonic() - start
    batches = -(-30 // batch_size)
    found = timed.generation
    assert found["rows"] == pytest.approx(30 / batches)
    assert found["width"] > 5
    assert found["prefill"] > 0
    assert found["per_token"] > 0
    # No more tokens than the limit, and nothing is counted twice.
    assert batches * found["prefill"] < took


def test_one_token_is_all_of_the_prompt(dataset: Dataset, model: torch.nn.Module) -> None:
    short = evaluator(dataset, 30)
    short.max_new_tokens = 1
    short(model)
    assert short.generation["prefill"] > 0
    assert short.generation["per_token"] == 0.0


def test_the_files_of_the_model_are_where_the_tests_look() -> None:
    assert (Path(TINY) / "model.safetensors").is_file()


def test_outcomes_are_in_the_order_of_the_rows(dataset: Dataset, model: torch.nn.Module) -> None:
    numbered = evaluator(dataset, 7)
    numbers = {id(row): float(index) for index, row in enumerate(numbered.rows)}
    numbered.reward = lambda completion, row: numbers[id(row)]
    assert numbered(model).outcomes == [float(index) for index in range(30)]


def test_others_see_how_far_an_evaluation_is(dataset: Dataset, model: torch.nn.Module) -> None:
    seen: list[tuple[int, int]] = []
    evaluator(dataset, 8, on_batch=lambda done, rows: seen.append((done, rows)))(model)
    assert seen == [(8, 30), (16, 30), (24, 30), (30, 30)]
    seen.clear()
    sampling = evaluator(
        dataset, 32, pass_k=1, pass_samples=8, on_batch=lambda *progress: seen.append(progress)
    )
    sampling.pass_at_k(model)
    assert seen == [(4, 30), (8, 30), (12, 30), (16, 30), (20, 30), (24, 30), (28, 30), (30, 30)]


# pass@k


def test_pass_at_k_is_that_of_its_samples(dataset: Dataset, model: torch.nn.Module) -> None:
    """The estimate is the one of the rewards that were given, and more tries never do worse."""
    heard: dict[str, list[float]] = {}

    def reward(completion: str, row: Any) -> float:
        heard.setdefault(row.prompt[0]["content"], []).append(float("1" in completion))
        return heard[row.prompt[0]["content"]][-1]

    measured = []
    for k in (1, 2, 4):
        heard.clear()
        sampling = evaluator(dataset, 16, pass_k=k, pass_samples=4)
        sampling.reward = reward
        measured.append(sampling.pass_at_k(model))
        assert {len(scores) for scores in heard.values()} == {4}
        by_hand = [
            np.mean([max(chosen) for chosen in itertools.combinations(scores, k)])
            for scores in heard.values()
        ]
        assert measured[-1] == pytest.approx(np.mean(by_hand))
    assert 0 < measured[0] < measured[1] < measured[2] < 1


def test_samples_follow_their_seed_alone(dataset: Dataset, model: torch.nn.Module) -> None:
    def samples(seed: int, temperature: float = 1.0) -> list[str]:
        heard: list[str] = []
        sampling = evaluator(
            dataset, 16, pass_k=1, pass_samples=2, pass_temperature=temperature, seed=seed
        )
        sampling.reward = lambda completion, row: float(heard.append(completion) is None)
        sampling.pass_at_k(model)
        return heard

    first = samples(1)
    torch.manual_seed(99)
    assert samples(1) == first != samples(2)
    assert len(set(samples(1, temperature=5.0))) > len(set(samples(1, temperature=0.01)))


def test_only_full_rewards_count_as_solved(dataset: Dataset, model: torch.nn.Module) -> None:
    sampling = evaluator(dataset, 64, pass_k=1, pass_samples=2)
    sampling.reward = lambda completion, row: 0.99
    assert sampling.pass_at_k(model) == 0.0
    sampling.reward = lambda completion, row: 0.1 + 0.2 + 0.7  # not quite 1 in binary
    assert sampling.pass_at_k(model) == 1.0


def test_settings_that_cannot_work_are_refused(dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match=r"pass_k=9 is more than pass_samples=8.*raise"):
        evaluator(dataset, 8, pass_k=9)


counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(counts)
def test_pass_at_1_is_the_share_of_right_samples(count: tuple[int, int]) -> None:
    n, c = count
    assert estimate_pass_at_k(n, c, 1) == pytest.approx(c / n, abs=1e-12)


@given(counts)
def test_pass_at_k_grows_with_k(count: tuple[int, int]) -> None:
    n, c = count
    values = [estimate_pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert all(0 <= one <= other + 1e-12 <= 1 + 1e-12 for one, other in itertools.pairwise(values))
    assert all(value == 1.0 for k, value in enumerate(values, 1) if n - c < k)


@given(
    st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.floats(0, 1)
)
def test_pass_at_k_is_unbiased(sizes: tuple[int, int], chance: float) -> None:
    """Over all outcomes of n samples, its mean is the chance that one of k is right."""
    n, k = sizes
    mean = sum(
        chance ** sum(right)
        * (1 - chance) ** (n - sum(right))
        * estimate_pass_at_k(n, sum(right), k)
        for right in itertools.product((0, 1), repeat=n)
    )
    assert mean == pytest.approx(1 - (1 - chance) ** k, abs=1e-9)


# Several processes

SHARED = """
import json, sys
from accelerate import PartialState
from tests.trials.evaluation.test_evaluate import evaluator
from tests.trials.helpers import TINY
from trials.data.dataset import load_dataset
from trials.models.loading import load_model

state = PartialState(cpu=True)
shared = evaluator(load_dataset(sys.argv[1]), 4, pass_k=2, pass_samples=2)
model = load_model(TINY)
shared.rows = shared.rows[:7]
score = shared(model)
tokens = shared.tokens
share = shared.pass_at_k(model)
with open(f"{sys.argv[2]}/{state.process_index}.json", "w") as file:
    json.dump([score.outcomes, tokens, share], file)
"""


@pytest.mark.slow
def test_processes_share_the_rows_and_count_all_tokens(
    dataset: Dataset, model: torch.nn.Module, tmp_path: Path
) -> None:
    (tmp_path / "shared.py").write_text(SHARED)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path / "shared.py"), str(dataset.path), tmp_path],
        env={**os.environ, "PYTHONPATH": str(TINY.parents[2]), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes, tokens, share = results = json.loads((tmp_path / "0.json").read_text())
    assert json.loads((tmp_path / "1.json").read_text()) == results
    alone = evaluator(dataset, 4)
    alone.rows = alone.rows[:7]
    assert outcomes == alone(model).outcomes
    # Seven rows on two processes: one row is completed twice, and padding depends on the batch.
    assert tokens > alone.tokens
    assert 0 <= share <= 1


def test_rows_that_no_trial_was_scored_on_are_all_the_others() -> None:
    rows = list(range(90))
    unseen = rows_outside_subsets(rows, (30, 50))
    assert sorted({*fixed_subset(rows, 30), *fixed_subset(rows, 50), *unseen}) == rows
    assert not set(unseen) & {*fixed_subset(rows, 30), *fixed_subset(rows, 50)}
    assert rows_outside_subsets(rows, (90,)) == rows_outside_subsets(rows, (1000,)) == []
    assert rows_outside_subsets(rows, ()) == rows
