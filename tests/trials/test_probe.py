from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trials.helpers import SCHEDULE, TINY, write_dataset
from trials.dataset import Row, load_dataset, render
from trials.errors import DatasetError, ModelError
from trials.models import load_model, load_tokenizer
from trials.probe import _features, main
from trials.records import Compute, ProbeAnswer, ProbeRequest, read_record, write_json


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


def test_a_request_is_answered(dataset_folder: Path, tmp_path: Path) -> None:
    request = ProbeRequest(
        dataset=str(dataset_folder),
        models={"base": str(TINY)},
        tokenizer=str(TINY),
        split="validation",
        rows=8,
        schedule=SCHEDULE.model_copy(update={"pass_k": 2, "pass_samples": 4}),
        features=True,
    )
    write_json(tmp_path / "request.json", request)
    main(tmp_path / "request.json")
    answer = read_record(tmp_path / "answer.json", ProbeAnswer)
    score = answer.scores["base"]
    assert score.rows == len(score.outcomes) == 8
    assert score.score == pytest.approx(sum(score.outcomes) / 8)
    assert score.pass_at_k is not None
    assert 0 <= score.pass_at_k <= 1
    assert all(math.isfinite(value) for value in answer.features.values())
    assert answer.parameters == load_model(TINY).num_parameters()


def test_the_precision_is_that_of_the_trials(dataset_folder: Path, tmp_path: Path) -> None:
    loss = {}
    for precision in ("auto", "float32", "bfloat16"):
        request = ProbeRequest(
            dataset=str(dataset_folder),
            models={"base": str(TINY)},
            tokenizer=str(TINY),
            split="validation",
            rows=4,
            schedule=SCHEDULE,
            compute=Compute(precision=precision),
            features=True,
        )
        write_json(tmp_path / precision / "request.json", request)
        main(tmp_path / precision / "request.json")
        answer = read_record(tmp_path / precision / "answer.json", ProbeAnswer)
        loss[precision] = answer.features["probe_loss"]
    assert loss["auto"] == loss["float32"]  # so small a model is faster so
    assert loss["bfloat16"] != loss["float32"]
    assert loss["bfloat16"] == pytest.approx(loss["float32"], rel=0.02)


def test_the_loss_is_that_of_the_completion_alone(
    rows: list[Row], tokenizer: Any, model: Any
) -> None:
    row = rows[0]
    features = _features(model, tokenizer, [row], 100)
    prompt = tokenizer(render(tokenizer, row.prompt, generation_prompt=True))["input_ids"]
    whole = tokenizer(render(tokenizer, row.prompt + row.completion))["input_ids"]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([whole])).logits[0]
    by_hand = [
        -float(logits[i - 1].log_softmax(-1)[whole[i]]) for i in range(len(prompt), len(whole))
    ]
    assert features["probe_loss"] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)
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
    whole = _features(model, tokenizer, rows[:3], 100)
    features = _features(model, tokenizer, [*rows[:3], emptied(rows[3])], 100)
    assert features["probe_loss"] == pytest.approx(whole["probe_loss"])
    assert features["completion_tokens"] == pytest.approx(0.75 * whole["completion_tokens"])
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: none of the 2 completions looked at"):
        _features(model, tokenizer, [emptied(row) for row in rows[:2]], 100)


def test_a_broken_model_is_refused(rows: list[Row], tokenizer: Any, model: Any) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(ModelError, match="loss of the model on the completions is nan"):
        _features(model, tokenizer, rows, 100)
