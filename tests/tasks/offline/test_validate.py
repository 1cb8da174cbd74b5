"""Great Expectations finds in the whole what no single row shows."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tasks.config.paths import OfflineFolder
from tasks.history.expectations import data_docs
from tasks.history.rows import history_files, read_history, write_parquet
from tasks.inputs.catalog import SplitSizes, build_dataset
from tasks.offline.validate import check, document_history, validate_all
from tasks.runs.folder import RunFolder
from tests.histories import bundled
from trials.io.errors import AutoPipeError, SettingsError

NAMES = ("chain_sum", "gcd")


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


def test_copies_constant_answers_and_missing_splits_are_found(tmp_path):
    good, bad = frame(range(20), ["yes", "no"] * 10), frame([1] * 20, ["yes"] * 20)
    with data_docs(tmp_path / "docs") as validate:
        results = check(validate, "good", good)
        found = failed(check(validate, "bad", bad[bad["split"] != "test"]))
    assert len(results) == 6
    assert failed(results) == []
    assert any("distinct_values_to_equal_set(split)" in name for name in found)
    assert any("proportion_of_unique_values" in name for name in found)
    assert any("unique_value_count" in name and "answer" in name for name in found)


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "built"
    folder.mkdir()
    for name in NAMES:
        path = build_dataset(name, tmp_path, sizes=SplitSizes(train=40, validation=10, test=10))
        path.rename(folder / name)
    return folder


@pytest.fixture
def history(tmp_path):
    folder = tmp_path / "history"
    folder.mkdir()
    write_parquet(bundled("chain_sum"), folder / "chain_sum.parquet")
    return folder


@pytest.mark.slow
def test_all_is_checked_documented_and_handed_on(built, history, tmp_path):
    rows = read_history(history_files(history))
    worse = rows.head(2).assign(trial_id=["x", "y"], score=[float("nan"), float("inf")])
    write_parquet(worse, history / "worse.parquet")
    before = {file: file.read_bytes() for file in history.iterdir()}
    output = OfflineFolder(tmp_path / "offline")
    found = validate_all.fn(built, history, output)
    assert found == {
        "dataset": {"checked": 2, "rows_good": 120, "rows_put_aside": 0},
        "history": {"checked": 2, "rows_good": len(rows), "rows_put_aside": 2},
    }
    assert json.loads(output.validation.read_text()) == found
    checked = pd.read_parquet(output.checked)
    assert checked["trial_id"].tolist() == rows["trial_id"].tolist()
    assert checked["curve"].tolist() == rows["curve"].tolist()
    aside = history / "quarantine" / "read.parquet"
    assert set(pd.read_parquet(aside)["trial_id"]) == {"x", "y"}
    assert {file: file.read_bytes() for file in before} == before
    page = (output.data_docs / "index.html").read_text()
    for name in ("dataset-chain_sum", "dataset-gcd", "history"):
        assert name in page
    # Mended, the quarantine is empty, and the same data leave the same bytes.
    (history / "worse.parquet").unlink()
    written = []
    for _ in range(2):
        validate_all.fn(built, history, output)
        written.append((output.validation.read_bytes(), output.checked.read_bytes()))
    assert written[0] == written[1]
    assert not aside.exists()


def test_bad_datasets_are_named_when_all_pages_are_there(built, history, tmp_path):
    file = built / "gcd" / "train.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    lines = [json.dumps({**row, "completion": "7", "answer": "7"})] * 400
    file.write_text("\n".join(lines))
    output = OfflineFolder(tmp_path / "offline")
    with pytest.raises(AutoPipeError, match=r"gcd: .*unique") as caught:
        validate_all.fn(built, history, output)
    assert "chain_sum" not in str(caught.value)
    assert (output.data_docs / "index.html").exists()
    assert not output.checked.exists()


def test_nothing_to_check_is_explained(built, history, tmp_path):
    output = OfflineFolder(tmp_path / "offline")
    with pytest.raises(SettingsError, match="offline datasets"):
        validate_all.fn(tmp_path / "nowhere", history, output)
    with pytest.raises(SettingsError, match="git checkout data/history"):
        validate_all.fn(built, tmp_path / "nowhere", output)
    [file] = history_files(history)
    write_parquet(read_history([file]).assign(score=float("nan")), file)
    with pytest.raises(SettingsError, match="none of the 20 history rows"):
        validate_all.fn(built, history, output)


def test_a_run_documents_the_history_that_it_learns_from(history, tmp_path):
    run = RunFolder(tmp_path / "run")
    assert document_history.fn([], run) is None
    page = document_history.fn(history_files(history), run)
    assert page == run.path / "history_docs" / "index.html"
    assert list(page.parent.glob("validations/**/*.html"))  # what the report links to
    assert "history" in page.read_text()
