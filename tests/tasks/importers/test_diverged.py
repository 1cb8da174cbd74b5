"""A run whose numbers end in NaN or infinity failed: its last good score is not its outcome."""

from __future__ import annotations

import json
import sqlite3

import pandas as pd
import pytest

from tasks.history.checks import check_history
from tasks.history.curves import unpack_curve
from tasks.importers.sources import read_source
from tasks.translation.metrics import divergence_step
from tasks.translation.results import ImportOptions
from tests.tasks.importers.test_mlflow import write_run

TARGET = ImportOptions(name="team", dataset_id="sums", model_id="m")
SFT = {"learning_rate": 0.5, "per_device_train_batch_size": 4, "packing": False}
DPO = {"learning_rate": 0.1, "per_device_train_batch_size": 4, "beta": 0.1, "loss_type": "ipo"}


def state(folder, broken, *, arguments=SFT, metric="eval_accuracy", good=0.4, tail=()):
    """A trainer's state: evaluated at step 10 of 30, and what is logged from step 20 on."""
    log = [{"step": 10, "loss": 1.0, "grad_norm": 1.0}, {"step": 10, metric: good}]
    log += [{"step": step, **broken} for step in (20, 30)]
    content = {"global_step": 30, "max_steps": 30, "log_history": [*log, *tail]}
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps(content))
    (folder / "training_args.json").write_text(json.dumps(arguments))
    return folder


BROKEN = [
    {"loss": float("nan"), "eval_accuracy": float("nan")},
    {"loss": float("inf")},
    {"loss": 0.0, "grad_norm": float("nan")},
    {"eval_loss": float("nan"), "eval_accuracy": 0.0},
    {"loss": "NaN"},
    {"loss": "Infinity"},
    {"loss": 1.0, "eval_accuracy": float("-inf")},
    {"loss": None, "eval_accuracy": None},
    {"loss": None},
    {"loss": 1.0, "eval_accuracy": None},
]


def test_states_that_end_without_numbers_are_failures(tmp_path):
    for number, broken in enumerate(BROKEN):
        state(tmp_path / str(number), broken)
    imported = read_source(tmp_path, TARGET)
    assert len(imported.rows) == len(BROKEN)
    for row in imported.rows:
        assert (row["state"], row["failure_kind"], row["score"]) == ("failed", "diverged", None)
        assert row["fraction"] == pytest.approx(2 / 3)
        assert row["config.sft_learning_rate"] == 0.5
        assert unpack_curve(row["curve"])["sft", "score"][1][0] == 0.4
    assert not imported.metrics
    assert check_history(pd.DataFrame(imported.rows))[1].empty


def test_a_run_that_recovered_did_not_fail(tmp_path):
    tail = [{"step": 30, "loss": 0.5, "grad_norm": 1.0, "eval_accuracy": 0.7}]
    folder = state(tmp_path / "out", {"grad_norm": float("inf"), "loss": 1.0}, tail=tail)
    [row] = read_source(folder, TARGET).rows
    assert (row["state"], row["score"]) == ("completed", 0.7)


def test_null_is_nothing_where_no_number_was(tmp_path):
    tail = [{"step": 30, "eval_accuracy": 0.7, "eval_other": None}]
    broken = {"loss": 1.0, "grad_norm": 1.0, "eval_other": None}
    [row] = read_source(state(tmp_path / "out", broken, tail=tail), TARGET).rows
    assert (row["state"], row["score"]) == ("completed", 0.7)


def test_one_that_was_never_evaluated_still_says_what_failed(tmp_path):
    folder = state(tmp_path / "out", {"loss": float("nan")}, metric="loss")
    [row] = read_source(folder, TARGET).rows
    assert (row["state"], row["failure_kind"]) == ("failed", "diverged")


def test_preference_runs_fail_alike(tmp_path):
    folder = state(
        tmp_path / "out",
        {"loss": float("inf"), "eval_rewards/accuracies": 0.5},
        arguments=DPO,
        metric="eval_rewards/accuracies",
    )
    [row] = read_source(folder, TARGET).rows
    assert (row["state"], row["config.dpo_loss_type"]) == ("failed", "ipo")


@pytest.mark.parametrize("told", ["NaN", "Infinity", "-Infinity"])
def test_an_export_and_a_folder_of_wandb_say_it_as_text(tmp_path, told):
    file = tmp_path / "runs.csv"
    file.write_text(
        '"ID","Name","State","learning_rate","per_device_train_batch_size","packing","train/loss",'
        f'"eval/accuracy"\n"a","x","crashed","0.1","4","false","{told}","0.3"\n'
        '"b","y","crashed","0.1","4","false","0.5","0.3"\n'
    )
    imported = read_source(file, TARGET)
    assert [row["state"] for row in imported.rows] == ["failed"]
    assert "crashed" in imported.rejected[0].reason
    files = tmp_path / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text(
        "wandb_version: 1\n"
        + "".join(f"{name}:\n  desc: null\n  value: {json.dumps(v)}\n" for name, v in SFT.items())
    )
    (files / "wandb-summary.json").write_text(
        json.dumps({"train/loss": told, "eval/accuracy": 0.3, "_step": 12, "_runtime": 8.5})
    )
    [row] = read_source(tmp_path / "wandb", TARGET).rows
    assert (row["state"], row["failure_kind"]) == ("failed", "diverged")


@pytest.mark.parametrize("status", [3, 4])
def test_a_run_of_mlflow_keeps_its_nan(tmp_path, status):
    folder = write_run(tmp_path / "mlruns", "r1", status=status)
    (folder / "metrics" / "loss").write_text("1 2.0 10\n2 nan 20\n")
    [row] = read_source(tmp_path / "mlruns", TARGET).rows
    assert (row["state"], row["failure_kind"], row["score"]) == ("failed", "diverged", None)


def test_the_last_value_of_each_number_counts():
    nan = float("nan")
    assert divergence_step([{"step": 1, "loss": nan}, {"step": 2, "loss": 1.0}]) is None
    assert divergence_step([{"step": 1, "loss": 1.0}, {"step": 2, "loss": nan}]) == 2
    assert divergence_step([{"step": 5, "kl": nan}]) is None
    assert divergence_step([{"step": 5, "kl": nan}], "kl") == 5


class TestDatabase:
    """MLflow's database, as its own schema has it."""

    SCHEMA = """
    create table runs (run_uuid text, name text, status text, start_time integer,
                       end_time integer, lifecycle_stage text, experiment_id integer);
    create table params (key text, value text, run_uuid text);
    create table metrics (key text, value real, timestamp integer, run_uuid text, step integer,
                          is_nan boolean);
    """

    def write(self, file, points):
        with sqlite3.connect(file) as base:
            base.executescript(self.SCHEMA)
            runs = [("r1", "FINISHED", 91000), ("r0", "RUNNING", None)]
            base.executemany("insert into runs values (?, 'fox', ?, 1000, ?, 'active', 1)", runs)
            params = [(name, str(value)) for name, value in SFT.items()]
            base.executemany("insert into params values (?, ?, 'r1')", params)
            base.executemany("insert into metrics values (?, ?, 1, 'r1', ?, ?)", points)
        return file

    @pytest.mark.parametrize("given", ["file", "folder"])
    def test_runs_are_read_and_nothing_is_written(self, tmp_path, given):
        points = [
            ("loss", 1.0, 10, 0),
            ("eval_accuracy", 0.2, 10, 0),
            ("eval_accuracy", 0.6, 20, 0),
        ]
        file = self.write(tmp_path / "mlflow.db", points)
        before = file.read_bytes()
        imported = read_source(file if given == "file" else tmp_path, TARGET)
        [row] = imported.rows
        assert (row["score"], row["cost_seconds"], row["state"]) == (0.6, 90.0, "completed")
        assert unpack_curve(row["curve"])["sft", "score"] == ([10, 20], [0.2, 0.6])
        assert "RUNNING" in imported.rejected[0].reason
        assert file.read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}

    def test_what_is_marked_as_no_number_is_a_failure(self, tmp_path):
        points = [("eval_accuracy", 0.2, 10, 0), ("eval_accuracy", 0.0, 20, 1)]
        [row] = read_source(self.write(tmp_path / "mlflow.db", points), TARGET).rows
        assert (row["state"], row["failure_kind"]) == ("failed", "diverged")


def test_a_logged_model_is_no_run(tmp_path):
    write_run(tmp_path / "mlruns", "r1")
    model = write_run(tmp_path / "mlruns", "models/m-9")
    (model / "meta.yaml").write_text("model_id: m-9\n")
    imported = read_source(tmp_path / "mlruns", TARGET)
    assert [row["trial_id"] for row in imported.rows] == ["team/sums/r1"]
    assert imported.rejected == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("training_args.json", '{"learning_rate": ' + "[" * 100_000),
        ("training_args.json", '{"learning_rate": 1, "x": ' + "9" * 6000 + "}"),
        ("args.yaml", "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
         "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n"
         "e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nlearning_rate: [*e, *e, *e, *e, *e, *e, *e]\n"),
        ("trainer_state.json", "[" * 100_000),
        ("trainer_state.json", '{"global_step": "many", "log_history": [{"step": 1}]}'),
        ("trainer_state.json", '{"global_step": 1e400, "max_steps": 3, "log_history": []}'),
    ],
)  # fmt: skip
def test_a_file_that_asks_for_too_much_refuses_its_own_run(tmp_path, name, content):
    state(tmp_path / "good", {"loss": 0.5, "eval_accuracy": 0.6})
    bad = state(tmp_path / "bad", {"loss": 0.5})
    if name == "args.yaml":
        (bad / "training_args.json").unlink()
    (bad / name).write_text(content)
    imported = read_source(tmp_path, TARGET)
    assert [row["score"] for row in imported.rows] == [0.6]
    [refused] = imported.rejected
    assert refused.item == "bad"
    assert len(refused.reason) < 1100
