"""Great Expectations finds in the whole what no single row shows."""

import pandas as pd

from tasks.validate import check


def frame(prompts, answers):
    return pd.DataFrame(
        [
            {"split": split, "prompt": f"{split} {prompt}", "completion": "c", "answer": answer}
            for split in ("train", "validation", "test")
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    )


def failed(results):
    return [entry["expectation"] for entry in results if not entry["success"]]


def test_a_good_dataset_passes_every_expectation():
    results = check(frame(range(20), ["yes", "no"] * 10))
    assert len(results) == 6
    assert failed(results) == []


def test_copies_constant_answers_and_missing_splits_are_found():
    bad = frame([1] * 20, ["yes"] * 20)
    found = failed(check(bad[bad["split"] != "test"]))
    assert any("distinct_values_to_equal_set(split)" in name for name in found)
    assert any("proportion_of_unique_values" in name for name in found)
    assert any("unique_value_count" in name and "answer" in name for name in found)
