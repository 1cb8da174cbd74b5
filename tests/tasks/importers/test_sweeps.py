"""Trials of Optuna and Ray Tune: their states, their durations, their curves."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from tasks.history.checks import check_history
from tasks.history.curves import unpack_curve
from tasks.importers.sources import read_source
from tasks.translation.results import ImportOptions
from trials.io.errors import SettingsError

TARGET = ImportOptions(name="study", dataset_id="sums", model_id="m")
HEAD = ",number,value,datetime_start,datetime_complete,duration,params_sft_learning_rate,params_x,"
TRIALS = [
    "0,0,0.5,2026-01-01,2026-01-01,0 days 00:04:22.300000,0.001,1,COMPLETE",
    "1,1,0.2,2026-01-01,2026-01-01,0 days 00:01:00,0.002,1,PRUNED",
    "2,2,,2026-01-01,2026-01-01,0 days 00:01:00,0.003,1,PRUNED",
    "3,3,,2026-01-01,2026-01-01,0 days 00:01:00,0.004,1,FAIL",
    "4,4,,2026-01-01,,,0.005,1,RUNNING",
    "5,5,half,2026-01-01,2026-01-01,1 days 00:00:00,0.006,1,COMPLETE",
]


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.csv"
    file.write_text("\n".join([HEAD + "state", *TRIALS]) + "\n")
    return file


def test_states_and_durations_of_a_study_are_translated(study):
    imported = read_source(study, TARGET)
    done, pruned = imported.rows
    assert (done["state"], done["score"], done["cost_seconds"]) == ("completed", 0.5, 262.3)
    assert done["config.sft_learning_rate"] == 0.001
    assert done["trial_id"] == "study/sums/0"
    assert (pruned["state"], pruned["stop_rule"], pruned["score"]) == ("stopped", "pruned", 0.2)
    assert check_history(pd.DataFrame(imported.rows))[1].empty
    reasons = [refused.reason for refused in imported.rejected]
    assert "pruned before it reported" in reasons[0]
    assert "FAIL" in reasons[1]
    assert "RUNNING" in reasons[2]
    assert "expected a number, found 'half'" in reasons[3]
    assert dict(imported.metrics) == {("value", 1.0): 2}
    turned = read_source(study, replace(TARGET, minimize=True))
    assert [row["score"] for row in turned.rows] == [-0.5, -0.2]


def test_several_objectives_need_a_choice(tmp_path):
    file = tmp_path / "study.csv"
    file.write_text("number,values_0,values_cost,params_sft_share,state\n0,0.5,9,0.5,COMPLETE\n")
    with pytest.raises(SettingsError, match=r"several objectives .*--score values_0"):
        read_source(file, TARGET)
    assert read_source(file, replace(TARGET, score="values_0")).rows[0]["score"] == 0.5
    assert read_source(file, replace(TARGET, score="-values_cost")).rows[0]["score"] == -9


def test_parameters_may_be_the_arguments_of_a_trainer(tmp_path):
    file = tmp_path / "study.csv"
    file.write_text(
        "number,value,params_learning_rate,params_per_device_train_batch_size,user_attrs_packing,"
        "user_attrs_note,state\n0,0.5,1e-4,8,true,a,COMPLETE\n"
    )
    [row] = read_source(file, TARGET).rows
    assert (row["config.sft_learning_rate"], row["config.sft_batch_size"]) == (1e-4, 8)
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("number,value,params_lr,state\n0,0.5,1e-4,COMPLETE\n")
    [refused] = read_source(unknown, TARGET).rejected
    assert "--map config.sft_learning_rate=params_lr" in refused.reason
    columns = {"config.sft_learning_rate": "params_lr"}
    [row] = read_source(unknown, replace(TARGET, columns=columns)).rows
    assert row["config.sft_learning_rate"] == 1e-4


@pytest.mark.parametrize("state", ["COMPLETE", "FINISHED", "TERMINATED", "TrialState.COMPLETE"])
def test_states_of_any_table_are_understood(tmp_path, state):
    file = tmp_path / "runs.csv"
    file.write_text(f"score,state,config.sft_share,cost_seconds\n0.5,{state},0.5,0:01:30\n")
    [row] = read_source(file, TARGET).rows
    assert (row["state"], row["cost_seconds"]) == ("completed", 90.0)


def test_a_column_can_be_passed_over(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("score,state,config.sft_share,config.mine\n0.5,weird,0.5,1\n")
    ignore = frozenset({"state", "config.mine"})
    [row] = read_source(file, replace(TARGET, ignore=ignore)).rows
    assert row["state"] == "completed"
    with pytest.raises(SettingsError, match=r"--ignore stat: .*no such column.*did you mean 'sta"):
        read_source(file, replace(TARGET, ignore=frozenset({"stat"})))


def trial(folder, accuracies, params, *, error=None, form="csv"):
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(params))
    lines = [
        {"accuracy": a, "training_iteration": n, "time_total_s": 2.0 * n, "timestamp": 1, "done": 0}
        for n, a in enumerate(accuracies, start=1)
    ]
    if form == "csv":
        text = pd.DataFrame(lines).to_csv(index=False) if lines else ""
        (folder / "progress.csv").write_text(text)
    else:
        (folder / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if error:
        (folder / "error.txt").write_text(error)
    (folder / "params.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    return folder


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_last_iteration_of_ray_tune_is_the_score(tmp_path, form):
    params = {"sft_learning_rate": 1e-3, "sft_share": 1.0}
    trial(tmp_path / "exp" / "a", [0.1, 0.3, 0.6], params, form=form)
    trial(tmp_path / "exp" / "b", [0.1], {"config": {}, **params}, form=form)
    imported = read_source(tmp_path / "exp", TARGET)
    whole, part = imported.rows
    assert (whole["score"], whole["state"], whole["cost_seconds"]) == (0.6, "completed", 6.0)
    assert unpack_curve(whole["curve"])["sft", "score"] == ([1, 2, 3], [0.1, 0.3, 0.6])
    assert (part["state"], part["fraction"]) == ("stopped", pytest.approx(1 / 3))
    assert check_history(pd.DataFrame(imported.rows))[1].empty
    turned = read_source(tmp_path / "exp", replace(TARGET, minimize=True)).rows[0]
    assert turned["score"] == -0.6
    assert unpack_curve(turned["curve"])["sft", "score"][1] == [-0.1, -0.3, -0.6]


@pytest.mark.parametrize(
    ("error", "kind"),
    [("torch.OutOfMemoryError: CUDA out of memory", "out_of_memory"), ("ValueError: no", "error")],
)
def test_what_failed_in_ray_tune_failed(tmp_path, error, kind):
    params = {"sft_learning_rate": 1e-3}
    trial(tmp_path / "a", [0.9], params, error=error)
    trial(tmp_path / "b", [], params, error=error)
    trial(tmp_path / "c", [], params)
    trial(tmp_path / "d", [0.5, float("nan")], params, form="json")
    imported = read_source(tmp_path, TARGET)
    assert [row["state"] for row in imported.rows] == ["failed"] * 3
    kinds = [row["failure_kind"] for row in imported.rows]
    assert kinds == [kind, kind, "diverged"]
    assert all(row["score"] is None for row in imported.rows)
    assert "reported nothing" in imported.rejected[0].reason
    assert check_history(pd.DataFrame(imported.rows))[1].empty


def test_the_file_of_one_trial_is_enough(tmp_path):
    folder = trial(tmp_path / "a", [0.1, 0.4], {"sft_learning_rate": 1e-3})
    assert read_source(folder / "progress.csv", TARGET).rows[0]["score"] == 0.4
    (folder / "params.json").unlink()
    with pytest.raises(SettingsError, match=r"one line per iteration.*params\.json"):
        read_source(folder / "progress.csv", TARGET)


def test_a_broken_trial_keeps_no_other_out(tmp_path):
    good = {"sft_learning_rate": 1e-3}
    trial(tmp_path / "a", [0.5], good)
    broken = trial(tmp_path / "b", [0.5], good, form="json")
    (broken / "result.json").write_text("[" * 100_000)
    other = trial(tmp_path / "c", [0.5], good)
    (other / "params.json").write_text("{" * 5)
    imported = read_source(tmp_path, TARGET)
    assert len(imported.rows) == 1
    assert "is not JSON" in imported.rejected[0].reason
    assert "cannot be read" in imported.rejected[1].reason


def test_settings_of_a_study_that_fill_no_field_are_named(tmp_path):
    file = tmp_path / "study.csv"
    file.write_text(
        "number,value,params_sft_learning_rate,params_bs,user_attrs_host,state\n"
        "0,0.5,0.001,8,a,COMPLETE\n1,0.7,0.001,64,b,COMPLETE\n2,0.7,0.002,64,b,COMPLETE\n"
    )
    imported = read_source(file, TARGET)
    columns, unused, equal = imported.notes
    assert "user_attrs_host" in columns
    assert "not used: 'params_bs'; --map uses one, as --map config.NAME=params_bs" in unused
    assert "equal configurations, though their trials differed in 'params_bs'" in equal
    mapped = replace(TARGET, columns={"config.sft_batch_size": "params_bs"})
    imported = read_source(file, mapped)
    assert [row["config.sft_batch_size"] for row in imported.rows] == [8, 64, 64]
    assert len(imported.notes) == 1
    passed = read_source(file, replace(TARGET, ignore=frozenset({"params_bs"})))
    assert len(passed.notes) == 1


@pytest.mark.parametrize(
    "rate", [{"sft_learning_rate": 1e-3}, {"learning_rate": 1e-3, "packing": False}]
)
def test_settings_of_ray_tune_that_fill_no_field_are_named(tmp_path, rate):
    size = {"per_device_train_batch_size": 4}
    for name, more in (("a", {"bs": 8, "seed": 1}), ("b", {"bs": 64, "seed": 2})):
        trial(tmp_path / name, [0.5], rate | size | more)
    unused, equal = read_source(tmp_path, TARGET).notes
    ours = "sft_learning_rate" in rate
    assert "settings that were not used: 'bs', " in unused
    assert ("per_device_train_batch_size" in unused) is ours
    assert "differed in 'bs':" in equal
    columns = {"config.sft_batch_size": "bs"}
    imported = read_source(tmp_path, replace(TARGET, columns=columns))
    assert not any("equal" in note or "'bs'" in note for note in imported.notes)


def test_one_setting_of_a_trainer_may_stand_for_another(tmp_path):
    rate = {"learning_rate": 1e-3, "packing": False}
    more = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    trial(tmp_path / "a", [0.5], rate | {"per_device_train_batch_size": 8})
    trial(tmp_path / "b", [0.5], rate | more)
    assert read_source(tmp_path, TARGET).notes == []
