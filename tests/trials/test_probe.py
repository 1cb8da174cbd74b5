from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.trials.helpers import SCHEDULE, TINY
from trials.models import load_model
from trials.probe import main
from trials.records import Compute, ProbeAnswer, ProbeRequest, read_record, write_json


def test_a_request_is_answered(dataset_folder: Path, tmp_path: Path) -> None:
    request = ProbeRequest(
        dataset=str(dataset_folder),
        models={"base": str(TINY)},
        tokenizer=str(TINY),
        split="validation",
        rows=8,
        # More samples than the features take: the two are apart.
        schedule=SCHEDULE.model_copy(update={"pass_k": 12, "pass_samples": 12}),
        features=True,
    )
    write_json(tmp_path / "request.json", request)
    assert main([tmp_path / "request.json"]) == 0
    answer = read_record(tmp_path / "answer.json", ProbeAnswer)
    score = answer.scores["base"]
    assert score.rows == len(score.outcomes) == 8
    assert score.score == pytest.approx(sum(score.outcomes) / 8)
    assert score.pass_at_k is not None
    assert 0 <= score.pass_at_k <= 1
    assert all(math.isfinite(value) for value in answer.features.values())
    assert {"model_layers", "probe_loss", "sampled_spread_share"} <= set(answer.features)
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
        assert main([tmp_path / precision / "request.json"]) == 0
        answer = read_record(tmp_path / precision / "answer.json", ProbeAnswer)
        loss[precision] = answer.features["probe_loss"]
    assert loss["auto"] == loss["float32"]  # so small a model is faster so
    assert loss["bfloat16"] != loss["float32"]
    assert loss["bfloat16"] == pytest.approx(loss["float32"], rel=0.02)
