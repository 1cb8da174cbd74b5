"""CSV exports of the runs' table of Weights & Biases."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd

from tasks.history.checks import check_history
from tasks.importers.sources import read_source
from tasks.translation.results import ImportOptions

HEAD = (
    '"Name","State","Runtime","learning_rate","per_device_train_batch_size","num_generations",'
    '"beta","loss_type","lr_scheduler_type","max_steps","eval/reward","train/global_step","lr"\n'
)
LINES = (
    '"sweep-1","finished","610","1e-06","16","8","0.04","dapo","cosine","100","0.61","100","1"\n'
    '"sweep-1","finished","605","3e-06","16","8","0.0","dapo","cosine","100","0.55","100","2"\n'
    '"sweep-3","crashed","20","1e-04","16","8","0.0","dapo","cosine","100","0.1","10","3"\n'
    '"sweep-4","finished","600","1e-05","16","8","0.0","dapo","cosine","100","","100","4"\n'
    '"sweep-5","finished","300","1e-05","16","8","0.0","dapo","cosine","100","0.5","50","5"\n'
)


TARGET = ImportOptions(name="w", dataset_id="d", model_id="m")


def export(folder, text):
    file = folder / "export.csv"
    file.write_text(text)
    return file


def test_runs_of_an_export_become_rows(tmp_path):
    imported = read_source(export(tmp_path, HEAD + LINES), TARGET)
    ids = [row["trial_id"] for row in imported.rows]
    names = ["w/d/sweep-1", "w/d/sweep-1", "w/d/sweep-5"]
    assert [trial.rpartition("-")[0] for trial in ids] == names
    assert len(set(ids)) == 3
    assert [row["score"] for row in imported.rows] == [0.61, 0.55, 0.5]
    assert [row["state"] for row in imported.rows] == ["completed", "completed", "stopped"]
    assert imported.rows[0]["config.rl_beta"] == 0.04
    assert imported.rows[0]["cost_seconds"] == 610.0
    assert imported.rows[2]["fraction"] == 0.5
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert "crashed" in reasons["sweep-3, line 4"]
    assert "no score" in reasons["sweep-4, line 5"]
    good, bad = check_history(pd.DataFrame(imported.rows))
    assert (len(good), len(bad)) == (3, 0)


def test_mapped_columns_go_before_the_arguments(tmp_path):
    file = export(tmp_path, HEAD + LINES.splitlines(keepends=True)[0])
    columns = {"score": "lr", "config.rl_learning_rate": "beta", "dataset_id": "loss_type"}
    [row] = read_source(file, ImportOptions(name="w", model_id="m", columns=columns)).rows
    assert (row["score"], row["dataset_id"]) == (1, "dapo")
    assert row["config.rl_learning_rate"] == 0.04


def test_ids_do_not_depend_on_the_order_of_the_lines(tmp_path):
    lines = LINES.splitlines(keepends=True)
    before, after = (
        {row["trial_id"]: row["score"] for row in read_source(export(tmp_path, text), TARGET).rows}
        for text in (HEAD + "".join(lines[:2]), HEAD + "".join(reversed(lines)))
    )
    assert len(before) == 2
    assert before.items() <= after.items()


def test_a_bad_cell_refuses_its_own_line(tmp_path):
    file = export(tmp_path, HEAD + LINES.replace('"0.61"', '"61%"'))
    target = replace(TARGET, columns={"score": "eval/reward"})
    imported = read_source(file, target)
    assert [row["score"] for row in imported.rows] == [0.55, 0.5]
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert reasons["sweep-1, line 2"].startswith("score: expected a number, found '61%'")
    turned = read_source(file, replace(target, minimize=True))
    assert [row["score"] for row in turned.rows] == [-0.55, -0.5]
    assert dict(turned.metrics) == {("eval/reward", -1.0): 2}


def test_ids_of_runs_are_names_and_an_odd_run_ends_nothing(tmp_path):
    lines = LINES.splitlines(keepends=True)[:2]
    lines[1] = lines[1].replace('"dapo"', """"{'a': ['x']}\"""").replace('"8"', '"1e999"')
    text = '"ID",' + HEAD + "".join(f'"0{n}",{line}' for n, line in enumerate(lines))
    imported = read_source(export(tmp_path, text), TARGET)
    assert [row["trial_id"] for row in imported.rows] == ["w/d/00"]
    assert imported.rejected[0].item == "01, line 3"


def test_a_finished_run_without_the_column_of_steps_took_all_of_them(tmp_path):
    head, [first, second, *_] = HEAD.replace('"train/global_step"', '"_step"'), LINES.splitlines()
    lines = [first.replace('"100","1"', '"12","1"'), second.replace("finished", "killed")]
    imported = read_source(export(tmp_path, head + "\n".join(lines)), TARGET)
    [row] = imported.rows
    assert (row["state"], row["fraction"], row["total_steps"]) == ("completed", 1.0, 100)
    [refused] = imported.rejected
    assert "how far it came is not known" in refused.reason


def test_a_score_that_is_text_is_shown(tmp_path):
    for text in ("61%", "0,61"):
        file = export(tmp_path, HEAD + LINES.splitlines()[0].replace("0.61", text))
        [refused] = read_source(file, TARGET).rejected
        assert f"eval/reward: expected a number such as 0.5, found {text!r}" in refused.reason


def test_a_folder_that_does_not_say_how_far_its_run_came_is_refused(tmp_path):
    files = tmp_path / "run-1" / "files"
    files.mkdir(parents=True)
    settings = {"learning_rate": 1e-4, "per_device_train_batch_size": 2, "packing": False}
    (files / "config.yaml").write_text(json.dumps(settings | {"max_steps": 100}))
    (files / "wandb-summary.json").write_text(json.dumps({"eval/accuracy": 0.5, "_step": 12}))
    [refused] = read_source(tmp_path, TARGET).rejected
    assert "has no train/global_step" in refused.reason


def test_columns_that_fill_no_field_are_named_where_columns_say_all(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("Name,State,config.sft_learning_rate,bs,score\na,finished,0.001,8,0.5\n")
    assert read_source(file, TARGET).notes == ["columns that were not used: 'bs'"]
