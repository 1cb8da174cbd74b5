"""Meta-features: counted from the text, probed from the model, refused with a sentence."""

from __future__ import annotations

import json
import math

import pytest

from tasks.config.paths import DATA
from tasks.inputs.featurize import (
    Refusal,
    meta_features,
    probe,
    probe_all,
    require_answers,
    text_features,
)
from trials.data.dataset import load_dataset
from trials.io.errors import AutoPipeError
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import ProbeRequest, Schedule

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


def test_the_base_model_is_probed_once_and_the_answer_kept(tmp_path, real_worker):
    folder = write_dataset(tmp_path, [(f"What is {n}?", str(n)) for n in range(20)])
    answer = probe(request(folder), tmp_path / "probes", real_worker)
    assert answer.scores["base"].rows == 8
    assert answer.parameters > 50_000
    assert answer.max_completion_tokens >= 5
    features = meta_features(load_dataset(folder), answer)
    assert features["probe_loss"] > 0
    assert features["model_log_parameters"] == pytest.approx(math.log10(answer.parameters))

    assert probe(request(folder), tmp_path / "probes", None) == answer  # nobody is asked again


def test_a_row_that_does_not_fit_is_refused_with_its_place_and_what_to_do(tmp_path, real_worker):
    folder = write_dataset(tmp_path, [("word " * 60, "yes"), ("short", "no")])
    with pytest.raises(AutoPipeError, match=r"train\.jsonl:1: the row has \d+ tokens") as caught:
        probe(request(folder, max_length=32), tmp_path / "probes", real_worker)
    assert "--max-length" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
def test_many_requests_are_answered_by_one_launch_and_a_refusal_stays_its_own(tmp_path):
    folders = [tmp_path / name for name in ("one", "long", "two")]
    for folder, prompt in zip(folders, ("What is", "word " * 60, "Give me"), strict=True):
        folder.mkdir()
        write_dataset(folder, [(f"{prompt} {n}?", str(n)) for n in range(20)])
    requests = [request(folder, max_length=32) for folder in folders]
    probes = [tmp_path / "probes" / folder.name for folder in folders]
    launches, seen = [], []

    class Counted(Launcher):
        def start(self, *arguments):
            launches.append(1)
            return super().start(*arguments)

    with Supervisor(Counted()) as measurer:
        found = probe_all(requests, probes, measurer, lambda *done: seen.append(done))
    assert len(launches) == 1
    assert isinstance(found[1], Refusal)
    assert "train.jsonl:1: the row has" in found[1]
    assert seen[0] == (0, 3)
    assert seen[-1] == (3, 3)
    # Only what was refused is asked again, and what the others got is what each gets alone.
    with Supervisor(Counted()) as measurer:
        again = probe_all(requests, probes, measurer, lambda *done: seen.append(done))
        assert again == found
        assert seen[-2:] == [(2, 3), (3, 3)]
        alone = probe(requests[2], tmp_path / "alone", measurer)
    assert found[2].model_copy(update={"seconds": alone.seconds}) == alone
    with pytest.raises(AutoPipeError, match="max-length"):
        require_answers(found)


@pytest.mark.slow
def test_a_process_that_crashes_is_told_with_the_end_of_its_log(tmp_path, real_worker):
    folder = write_dataset(tmp_path, [(f"What is {n}?", str(n)) for n in range(20)])
    broken = request(folder).model_copy(update={"split": "validation", "rows": 0})
    with pytest.raises(AutoPipeError, match=r"(?s)measuring .* failed:.*Error"):
        probe_all([broken, request(folder)], [tmp_path / "a", tmp_path / "b"], real_worker)
    assert len(list(tmp_path.glob("b/*/answer.json"))) == 1  # the others are answered and kept
