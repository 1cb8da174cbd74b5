"""Meta-features: counted from the text, probed from the model, refused with a sentence."""

from __future__ import annotations

import json
import math

import pytest

from tasks.featurize import meta_features, probe, text_features
from tasks.paths import DATA
from trials.dataset import load_dataset
from trials.errors import AutoPipeError
from trials.launch import Launcher
from trials.records import ProbeRequest, Schedule

MODEL = str(DATA / "models" / "tiny-100k")


def write_dataset(folder, prompts):
    for number, split in enumerate(("train", "validation", "test")):
        rows = [
            {"prompt": f"{prompt} {number}", "completion": answer, "answer": answer}
            for prompt, answer in prompts
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_text_features_are_what_one_counts_by_hand(tmp_path):
    folder = write_dataset(tmp_path, [("ab", "yes"), ("abcd", "no"), ("abcd yes", "yes")])
    features = text_features(load_dataset(folder))
    assert features["log_rows"] == pytest.approx(math.log10(3))
    assert features["prompt_characters"] == pytest.approx((4 + 6 + 10) / 3)
    assert features["majority_answer_share"] == pytest.approx(2 / 3)
    assert features["distinct_answer_share"] == pytest.approx(2 / 3)
    assert features["answer_entropy_bits"] == pytest.approx(0.918, abs=1e-3)
    assert features["answer_in_prompt_share"] == pytest.approx(1 / 3)
    assert features["answer_digit_share"] == 0
    assert all(math.isfinite(value) for value in features.values())


def request(folder, **schedule):
    return ProbeRequest(
        dataset=str(folder),
        models={"base": MODEL},
        tokenizer=MODEL,
        split="validation",
        rows=8,
        schedule=Schedule(**schedule),
        features=True,
    )


def test_the_base_model_is_probed_once_and_the_answer_kept(tmp_path):
    folder = write_dataset(tmp_path, [(f"What is {n}?", str(n)) for n in range(20)])
    answer = probe(request(folder), tmp_path / "probes", Launcher())
    assert answer.scores["base"].rows == 8
    assert answer.parameters > 50_000
    assert answer.max_completion_tokens >= 5
    features = meta_features(load_dataset(folder), answer)
    assert features["probe_loss"] > 0
    assert features["model_log_parameters"] == pytest.approx(math.log10(answer.parameters))

    class NoLauncher(Launcher):
        def run(self, *_):
            raise AssertionError("launched again")

    assert probe(request(folder), tmp_path / "probes", NoLauncher()) == answer


def test_a_row_that_does_not_fit_is_refused_with_its_place_and_what_to_do(tmp_path):
    folder = write_dataset(tmp_path, [("word " * 60, "yes"), ("short", "no")])
    with pytest.raises(AutoPipeError, match=r"train\.jsonl:1: the row has \d+ tokens") as caught:
        probe(request(folder, max_length=32), tmp_path / "probes", Launcher())
    assert "--max-length" in str(caught.value)
    assert "Traceback" not in str(caught.value)
