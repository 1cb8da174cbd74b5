"""The local file store of MLflow, as transformers' callback fills it."""

from __future__ import annotations

import pandas as pd

from tasks.history.checks import check_history
from tasks.history.curves import unpack_curve
from tasks.importers.sources import read_source
from tasks.translation.results import ImportOptions

TARGET = ImportOptions(name="lab", dataset_id="gsm", model_id="m")
PARAMS = {
    "learning_rate": "1e-05",
    "per_device_train_batch_size": "4",
    "gradient_accumulation_steps": "4",
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": "{'min_lr_rate': 0.2}",
    "warmup_ratio": "0.05",
    "packing": "True",
    "completion_only_loss": "None",
    "max_steps": "30",
    "seed": "7",
}


def write_run(store, run, params=PARAMS, status=3, lifecycle="active", score=True):
    folder = store / "0" / run
    (folder / "params").mkdir(parents=True)
    (folder / "metrics").mkdir()
    (folder / "tags").mkdir()
    (folder / "meta.yaml").write_text(
        f"run_id: {run}\nstatus: {status}\nlifecycle_stage: {lifecycle}\n"
        "start_time: 1700000000000\nend_time: 1700000090000\nrun_name: bold-fox\n"
    )
    for name, value in params.items():
        (folder / "params" / name).write_text(value)
    (folder / "metrics" / "loss").write_text("1700 2.0 10\n1701 1.5 20\n1702 1.0 30\n")
    if score:
        (folder / "metrics" / "eval_accuracy").write_text("1700 0.2 15\n1702 0.35 30\n")
    return folder


def test_a_run_of_the_store_becomes_a_row(tmp_path):
    store = tmp_path / "mlruns"
    write_run(store, "a1")
    (store / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    imported = read_source(store, TARGET)
    assert imported.rejected == []
    [row] = imported.rows
    assert row["trial_id"] == "lab/gsm/a1"
    assert (row["score"], row["cost_seconds"], row["seed"]) == (0.35, 90.0, 7)
    assert row["config.sft_learning_rate"] == 1e-5
    assert row["config.sft_batch_size"] == 16
    assert row["config.sft_packing"] is True
    assert row["config.sft_schedule"] == "cosine_min_lr"
    assert row["config.sft_min_lr_ratio"] == 0.2
    assert "config.sft_completion_only" not in row
    [scores] = [c for (_, metric), c in unpack_curve(row["curve"]).items() if metric == "score"]
    assert scores == ([15, 30], [0.2, 0.35])
    assert check_history(pd.DataFrame([row]))[1].empty


def test_deleted_failed_and_unscored_runs_are_listed(tmp_path):
    write_run(tmp_path, "good")
    write_run(tmp_path, "deleted", lifecycle="deleted")
    write_run(tmp_path, "failed", status=4)
    write_run(tmp_path, "named", status="FAILED")
    write_run(tmp_path, "going", status=1)
    write_run(tmp_path, "blind", score=False)
    imported = read_source(tmp_path, TARGET)
    assert len(imported.rows) == 1
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert set(reasons) == {"deleted", "failed", "named", "going", "blind"}
    assert "lifecycle" in reasons["deleted"]
    assert "why is not recorded" in reasons["failed"]
    assert "not finished" in reasons["going"]
    assert "no score" in reasons["blind"]


def test_a_killed_run_counts_as_stopped(tmp_path):
    write_run(tmp_path, "killed", status=5)
    [row] = read_source(tmp_path, TARGET).rows
    assert row["state"] == "stopped"


def test_an_odd_run_is_refused_and_the_others_are_imported(tmp_path):
    write_run(tmp_path, "good")
    latin = write_run(tmp_path, "latin")
    (latin / "params" / "note").write_bytes("größe".encode("latin-1"))
    write_run(tmp_path, "odd", PARAMS | {"warmup_ratio": "{}", "max_steps": "['a']"})
    more = {"lr_scheduler_type": "warmup_stable_decay"}
    more["lr_scheduler_kwargs"] = "{'num_decay_steps': 'auto'}"
    write_run(tmp_path, "text", PARAMS | more)
    imported = read_source(tmp_path, TARGET)
    assert sorted(row["trial_id"] for row in imported.rows) == ["lab/gsm/good", "lab/gsm/odd"]
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert reasons["latin"].startswith("cannot be understood: a file of it is not in UTF-8")
    assert reasons["text"].startswith("cannot be understood: TypeError")
