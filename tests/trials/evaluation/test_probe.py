from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.trials.helpers import LORA, SCHEDULE, TINY, make_spec, write_dataset
from trials.evaluation.probe import ModelCache, try_answer_request
from trials.models.loading import load_model
from trials.spec.records import Compute, ProbeAnswer, ProbeRequest, read_record, write_json
from trials.training.run import run_trial


def probed(folder: Path, data: Path, model: Path = TINY, **fields: Any) -> ProbeAnswer:
    """The answer to a request for a model on the validation split."""
    given = {"schedule": SCHEDULE, "features": True} | fields
    request = ProbeRequest(
        dataset=str(data),
        models={"base": str(model)},
        tokenizer=str(TINY),
        split="validation",
        **given,
    )
    write_json(folder / "request.json", request)
    try_answer_request(folder / "request.json", ModelCache())
    return read_record(folder / "answer.json", ProbeAnswer)


def test_a_request_is_answered(dataset_folder: Path, tmp_path: Path) -> None:
    # More samples than the features take: the two are apart.
    schedule = SCHEDULE.model_copy(update={"pass_k": 12, "pass_samples": 12})
    answer = probed(tmp_path, dataset_folder, rows=8, schedule=schedule)
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
        compute = Compute(precision=precision)
        # Samples, which cost the most, say nothing of the precision.
        given = {"rows": 4, "compute": compute, "sampled_rows": 0}
        loss[precision] = probed(tmp_path / precision, dataset_folder, **given).features[
            "probe_loss"
        ]
    assert loss["auto"] == loss["float32"]  # so small a model is faster so
    assert loss["bfloat16"] != loss["float32"]
    assert loss["bfloat16"] == pytest.approx(loss["float32"], rel=0.02)


LENGTHS = """
def of_text(completion, **_):
    return (hash(tuple(completion.encode())) % 9973) / 9973
"""


# review fault 11
@pytest.mark.parametrize("config", [{}, LORA], ids=["full", "lora"])
def test_a_model_is_scored_as_its_trial_scored_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    """In the same precision, so that not one completion differs: in bfloat16 many nearly tie."""
    (tmp_path / "hashed.py").write_text(LENGTHS)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = write_dataset(tmp_path / "data", "reward: hashed:of_text\n")
    schedule = SCHEDULE.model_copy(update={"eval_rows": 12, "max_completion_tokens": 24})
    given: dict[str, Any] = {
        "schedule": schedule,
        "compute": Compute(precision="bfloat16"),
        "allow_user_code": True,
    }
    trained = run_trial(make_spec(tmp_path / "trial", data, config, **given))
    assert trained.failure is None
    final = tmp_path / "trial" / "checkpoint" / "final"
    answer = probed(tmp_path / "probe", data, final, rows=12, features=False, **given)
    assert len(set(trained.outcomes)) > 1
    assert answer.scores["base"].outcomes == trained.outcomes


def test_what_there_is_no_time_for_is_left_out(dataset_folder: Path, tmp_path: Path) -> None:
    answer = probed(tmp_path, dataset_folder, rows=4, feature_rows=2, sampled_rows=0)
    assert answer.scores["base"].rows == 4
    assert "probe_loss" in answer.features
    assert "sampled_reward" not in answer.features
