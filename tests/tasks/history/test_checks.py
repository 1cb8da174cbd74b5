"""Bad history rows are found, told apart by their reasons, kept, and not learned from."""

from __future__ import annotations

import html
import json
import math
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest

from tasks.history.checks import (
    append_checked,
    check_history,
    learnable_history,
    write_history_docs,
)
from tasks.history.expectations import EXPECTATIONS, data_docs, load_suite
from tasks.history.rows import append_history, history_files, read_history
from tests.histories import bundled_files
from trials.io.errors import SettingsError
from trials.spec.kinds import FailureKind, TrialState


def row(number: int = 0, **changes: object) -> dict[str, object]:
    return {
        "run_id": "r",
        "trial_id": f"r/d/{number:03d}",
        "dataset_id": "d",
        "dataset_fingerprint": "f" * 16,
        "model_id": "m",
        "state": "completed",
        "fraction": 1.0,
        "score": 0.5,
        "score_se": 0.03,
        "cost_seconds": 20.0,
        "cost_flops": 1e12,
        "cost_tokens": 1000,
        "failure_kind": None,
        "continued": False,
        "seed": 0,
        "total_steps": 100,
        "curve": '{"sft/loss":[[1,2,3],[3.0,2.0,1.0]],"rl/score":[[4],[0.5]]}',
        "config.sft_learning_rate": 1e-3,
        "config.sft_batch_size": 16,
        **changes,
    }


FAILED = {"state": "failed", "failure_kind": "diverged", "score": None, "score_se": None}


def test_every_bundled_row_is_good():
    rows = read_history(bundled_files())
    good, bad = check_history(rows)
    assert len(rows) >= 260
    assert bad.empty, bad[["trial_id", "reason"]].to_string()
    assert good.equals(rows)


BAD_ROWS = [
    ({"score": math.nan}, "no score, and not failed"),
    ({"score": None, "state": "stopped"}, "no score, and not failed"),
    ({"score": math.inf}, "score is not a finite number"),
    ({"score": 1e200}, "score is not a finite number"),
    ({"score": "0.5"}, "score is no number"),
    ({"cost_flops": 1e200}, "at most 1e+32"),
    ({"score_se": 1e200}, "above 1e9"),
    ({"dataset_id": "x" * 2000}, "longer than 1,000"),
    ({"trial_id": "x" * 2000}, "longer than 1,000"),
    ({"total_steps": 1e300}, "total_steps is not between"),
    ({"seed": 1e300}, "seed is no whole number"),
    ({"curve": "[" * 100_000}, "nested too deeply"),
    ({"curve": '{"sft/loss":' + "[" * 99_999}, "nested too deeply"),
    ({"timeline": "[" * 100_000}, "nested too deeply"),
    ({"curve": " " * 6_000_000}, "longer than 5,000,000"),
    ({"curve": '{"rl/score":[[1],[1e200]]}'}, "beyond 1e+09"),
    ({"curve": '{"rl/loss":[[1],[-Infinity]]}'}, "beyond 1e+30"),
    ({"curve": '{"rl/loss":[[1],[' + "9" * 6000 + "]]}"}, "curve is not"),
    ({"config.max_grad_norm": "=1"}, "max_grad_norm"),
    ({"signal.rl_kl": 1e200}, "signal.rl_kl is not between"),
    ({"meta.base_score": float("inf")}, "meta.base_score is not between"),
    ({"meta.log_rows": ["a"]}, "neither a number nor text"),
    ({"score": "good"}, "score is no number"),
    ({"score": True}, "score is no number"),
    ({"fraction": True}, "fraction is no number"),
    ({"cost_seconds": True}, "cost_seconds is no number"),
    ({"seed": False}, "seed is no number"),
    ({"total_steps": True}, "total_steps is no number"),
    ({"config.rl_beta": True}, "rl_beta=True: expected a number"),
    ({"config.sft_batch_size": True}, "sft_batch_size=True: expected a number"),
    ({"score_se": -0.1}, "score_se is negative"),
    ({"cost_seconds": 0.0}, "cost_seconds is not above 0"),
    ({"cost_flops": -1.0}, "cost_flops is not above 0"),
    ({"cost_tokens": 0}, "cost_tokens is not above 0"),
    (FAILED | {"cost_seconds": -1.0}, "cost_seconds is negative"),
    ({"fraction": 0.0}, "fraction is not in (0, 1]"),
    ({"fraction": 1.5}, "fraction is not in (0, 1]"),
    ({"state": "done"}, "state is none of completed, stopped, failed"),
    (FAILED | {"failure_kind": "bored"}, "failure_kind is not known"),
    (FAILED | {"score": 0.5}, "it has a score, though it failed"),
    ({"dataset_id": None}, "dataset_id is empty"),
    ({"dataset_id": ""}, "dataset_id is empty"),
    ({"dataset_fingerprint": ""}, "dataset_fingerprint is empty"),
    ({"dataset_fingerprint": None}, "dataset_fingerprint is empty"),
    ({"model_id": None}, "model_id is empty"),
    ({"trial_id": None}, "trial_id is empty"),
    ({"trial_id": "r/d/001", "score": 0.9}, "trial_id is that of a row before it"),
    ({"seed": "x"}, "seed is no number"),
    ({"continued": "yes"}, "continued is neither"),
    ({"total_steps": 0}, "total_steps is not between"),
    ({"config.sft_learning_rate": 7.0}, "sft_learning_rate=7.0"),
    ({"config.sft_learning_rat": 0.1}, "did you mean 'sft_learning_rate'"),
    ({"config.sft_share": 0.8, "config.dpo_share": 0.8}, "more than 1 together"),
    ({"curve": '{"sft/loss":[[1,3,2],[1,1,1]]}'}, "step 2 follows step 3"),
    ({"curve": "no curve"}, "curve is not"),
    ({"curve": '{"sft/loss":[[Infinity],[1]]}'}, "curve is not"),
]


def test_each_kind_of_bad_row_is_found_with_its_reason():
    """One bad row among good ones for each kind, all in one table."""
    rows = [row(1), row(2, **FAILED)]
    rows += [row(10 + n) | changes for n, (changes, _) in enumerate(BAD_ROWS)]
    good, bad = check_history(pd.DataFrame(rows))
    assert len(good) + len(bad) == len(rows)
    assert "reason" not in good
    assert list(bad.index) == list(range(2, len(rows)))
    missed = [
        (changes, expected, found)
        for (changes, expected), found in zip(BAD_ROWS, bad["reason"], strict=True)
        if expected not in found
    ]
    assert missed == []


HALVES = [
    {"dataset_id": "\ud800"},
    {"trial_id": "a\udfff"},
    {"config.sft_schedule": "\ud800"},
    {"meta.x": "\ud800"},
    {"curve": "\ud800"},
    {"other": ["a", {"b": "\ud800"}]},
]


def test_text_that_is_not_unicode_is_quarantined(tmp_path):
    rows = [row(1), *(row(2 + n) | changes for n, changes in enumerate(HALVES))]
    file, bad = append_checked(rows, tmp_path, "r")
    assert read_history([file])["trial_id"].tolist() == ["r/d/001"]
    for [column], reason in zip(HALVES, bad["reason"], strict=True):
        assert f"{column} is not Unicode: " in reason
    assert len(pd.read_parquet(tmp_path / "quarantine" / "r.parquet")) == len(HALVES)


def test_a_column_of_nothing_but_truths_has_no_numbers():
    good, bad = check_history(pd.DataFrame([row(1, score=True), row(2, score=True)]))
    assert good.empty
    assert set(bad["reason"]) == {"score is no number"}


def test_all_reasons_of_a_row_are_named():
    _, bad = check_history(pd.DataFrame([row(1, score_se=-1.0, fraction=2.0, curve="{}x")]))
    [reason] = bad["reason"]
    assert reason.count("; ") == 2


def test_of_whole_copies_one_is_kept():
    good, bad = check_history(pd.DataFrame([row(1), row(2), row(1)]))
    assert good["trial_id"].tolist() == ["r/d/001", "r/d/002"]
    assert bad["reason"].tolist() == ["a copy of a row before it"]


def test_failures_teach_though_they_have_no_score_or_a_refused_configuration():
    refused = FAILED | {"failure_kind": "bad_config", "config.rl_batch_size": 15, "fraction": 0.0}
    good, bad = check_history(pd.DataFrame([row(1), row(2, **FAILED), row(3, **refused)]))
    assert bad.empty
    assert len(good) == 3


def test_the_suites_know_what_the_records_know():
    suite = load_suite("history").expectations
    sets = {each.column: set(each.value_set) for each in suite if hasattr(each, "value_set")}
    assert sets["state"] == set(TrialState)
    assert sets["failure_kind"] == set(FailureKind)
    for file in EXPECTATIONS.glob("*.json"):
        entries = json.loads(file.read_text())["expectations"]
        assert all(entry["meta"]["reason"] for entry in entries)


def test_appending_keeps_bad_rows_in_the_quarantine(tmp_path, caplog):
    file, bad = append_checked([row(1), row(2, score=math.inf), row(3)], tmp_path, "r")
    assert read_history([file])["trial_id"].tolist() == ["r/d/001", "r/d/003"]
    kept = pd.read_parquet(tmp_path / "quarantine" / "r.parquet")
    assert kept["trial_id"].tolist() == ["r/d/002"]
    assert bad["reason"].tolist() == ["score is not a finite number between -1e9 and 1e9"]
    assert kept["reason"].tolist() == bad["reason"].tolist()
    assert "1 history row(s) are not learned from" in caplog.text
    assert history_files(tmp_path) == [file]


def test_a_value_of_the_wrong_type_can_be_kept_too(tmp_path):
    rows = [row(1, score="good"), row(2, score=["a", 1]), row(3, score=3.0, score_se="x")]
    file, bad = append_checked(rows, tmp_path, "r")
    assert file is None
    assert len(pd.read_parquet(tmp_path / "quarantine" / "r.parquet")) == len(bad) == 3


def test_cells_that_cannot_be_compared_end_no_check():
    odd = [{"r": [1]}, [1, 2], 7]
    rows = [row(1), *(row(number, curve=cell) for number, cell in enumerate(odd, start=2))]
    good, bad = check_history(pd.DataFrame(rows))
    assert len(good) == 1
    assert set(bad["reason"]) == {"curve is no text"}


def test_only_good_rows_are_learned_from(tmp_path, caplog):
    append_history([row(1), row(2)], tmp_path, "a")
    append_history([row(3), row(4, fraction=3.0)], tmp_path, "b")
    learned = learnable_history(history_files(tmp_path))
    assert learned["trial_id"].tolist() == ["r/d/001", "r/d/002", "r/d/003"]
    assert "r/d/004: fraction is not in (0, 1]" in caplog.text
    assert len(pd.read_parquet(tmp_path / "quarantine" / "read.parquet")) == 1
    # The history itself is only ever added to.
    assert len(read_history(history_files(tmp_path))) == 4


def test_a_history_without_any_good_row_is_refused(tmp_path):
    append_history([row(1, score=math.inf)], tmp_path, "a")
    with pytest.raises(SettingsError, match="autopipe history check"):
        learnable_history(history_files(tmp_path))


def _append(folder: Path, worker: int, count: int, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for number in range(count):
        # All of the same name: of runs in two places that were called the same.
        trial = row(number, trial_id=f"{worker}/{number}")
        append_history([trial], folder, f"same-{number % 2}")


def test_two_processes_that_append_at_once_lose_nothing(tmp_path):
    count, context = 12, multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=_append, args=(tmp_path, worker, count, barrier))
        for worker in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    rows = read_history(history_files(tmp_path))
    assert set(rows["trial_id"]) == {f"{w}/{n}" for w in range(2) for n in range(count)}
    assert len(rows) == 2 * count
    assert [file for file in tmp_path.iterdir() if file.suffix != ".parquet"] == []


def test_a_half_written_file_is_ignored(tmp_path):
    append_history([row(1)], tmp_path, "a")
    whole = (tmp_path / "a.parquet").read_bytes()
    for name in (".b.77.1.partial", "..b.parquet.77.1.writing"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert len(read_history(history_files(tmp_path))) == 1
    append_history([row(2)], tmp_path, "b")
    assert len(read_history(history_files(tmp_path))) == 2


ATTACKS = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "$v {{7*7}} %s"]


def pages(index: Path) -> str:
    return "".join(page.read_text() for page in index.parent.rglob("*.html"))


def test_data_docs_show_what_failed_and_cells_are_not_markup(tmp_path):
    rows = [row(1), row(2, fraction=3.0)]
    for attack in ATTACKS:
        rows.append(row(len(rows), state=attack, stop_rule="<b>"))
        rows.append(row(len(rows), trial_id=f"{attack}3", score=1e300))
    index = write_history_docs(pd.DataFrame(rows), tmp_path / "docs")
    assert index == tmp_path / "docs" / "index.html"
    text = pages(index)
    assert "score_se" in text
    assert "Failed" in text
    for attack in ATTACKS:
        assert attack not in text
        assert html.escape(attack).replace("$", "&#36;") in text
    # Once more, of a dataset, in its place.
    [attack, *_] = ATTACKS
    prompts = [f"{attack}{n}" for n in range(3)] + [f"p{n}" for n in range(3)]
    splits = ["train", "train", "validation", "validation", "test", attack]
    frame = pd.DataFrame({"split": splits, "prompt": prompts, "completion": "c", "answer": attack})
    with data_docs(tmp_path / "docs") as validate:
        assert len(validate(attack, frame, load_suite("dataset"))) == 6
    assert attack not in pages(index)
    assert html.escape(attack) in pages(index)
