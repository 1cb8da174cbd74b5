"""`autopipe history`: the command, as a user types it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.cli.history import together
from tasks.history.rows import history_files, read_history, write_parquet
from tests.histories import bundled

RUNNER = CliRunner(env={"COLUMNS": "200"})


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "history"
    folder.mkdir()
    rows = bundled("chain_sum")
    rows["model_fingerprint"] = "000123"
    write_parquet(rows, folder / "chain_sum.parquet")
    return folder


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "runs.csv"
    frame = {"lr": [1e-3, 1e-4, 9.0], "acc": [0.5, None, 0.2]}
    pd.DataFrame(frame).to_csv(file, index=False)
    return file


def run(*arguments: object):
    return RUNNER.invoke(app, ["history", *map(str, arguments)])


def test_import_says_what_joined_and_what_did_not(history, table):
    maps = ["--map", "score=acc", "--map", "config.sft_learning_rate=lr"]
    done = run("import", table, "--dataset", "d", "--model", "m", *maps, "--history", history)
    assert done.exit_code == 0, done.output
    assert "imported 1, refused 2" in done.output
    assert "no score in its line" in done.output
    assert "sft_learning_rate=9.0" in done.output
    rows = read_history(history_files(history))
    assert len(rows) == 21
    assert rows["trial_id"].iloc[-1].startswith("runs/d/runs-")
    assert "runs.csv, line 4" in done.output
    assert "score: acc of 2 run(s); higher is better" in done.output
    kept = pd.read_parquet(next((history / "quarantine").glob("*.parquet")))
    assert "sft_learning_rate=9.0" in kept["reason"].iloc[0]

    again = run("import", table, "--dataset", "d", "--model", "m", *maps, "--history", history)
    assert again.exit_code == 0
    assert "imported 0, refused 2; 1 trial is there already" in again.output
    shown = run("show", "--history", history)
    assert shown.exit_code == 0
    assert "21 rows in 2 files" in shown.output.replace("\n", " ")
    assert run("check", "--history", history).exit_code == 0


def test_import_of_a_folder_without_arguments_ends_with_2(history, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    state = {"global_step": 3, "max_steps": 3, "log_history": [{"step": 3, "eval_accuracy": 0.1}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    done = run("import", folder, "--dataset", "d", "--model", "m", "--history", history)
    assert done.exit_code == 2
    assert "imported 0, refused 1" in done.output
    assert "no arguments were saved" in done.output


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--map", "score"], "expected FIELD=COLUMN"),
        (["--map", "score=a", "--map", "score=b"], "twice"),
        (["--format", "excel"], "expected auto, trl, mlflow, wandb, optuna, ray, csv"),
        (["--stage", "ppo"], "expected sft, dpo or rl"),
        (["--format", "trl", "--model", "m"], "--dataset is missing"),
    ],
)
def test_import_refuses_what_it_cannot_mean(history, table, arguments, found):
    done = run("import", table, *arguments, "--history", history)
    assert done.exit_code == 2
    assert found in done.output


def test_check_lists_bad_rows_and_writes_pages(history, tmp_path):
    file = next(history.glob("*.parquet"))
    rows = pd.read_parquet(file)
    rows.loc[2, "fraction"] = 4.0
    rows.to_parquet(file)
    done = run("check", "--history", history, "--docs", tmp_path / "docs")
    assert done.exit_code == 1
    assert "19 good rows, 1 bad ones" in done.output
    assert rows["trial_id"][2] in done.output
    assert (tmp_path / "docs" / "index.html").exists()
    assert len(pd.read_parquet(history / "quarantine" / "check.parquet")) == 1


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_export_holds_every_row_and_can_be_imported(history, tmp_path, ending):
    file = tmp_path / f"all.{ending}"
    assert run("export", file, "--history", history).exit_code == 0
    other = tmp_path / "other"
    done = run("import", file, "--history", other)
    assert "imported 20, refused 0" in done.output, done.output
    before, after = (read_history(history_files(folder)) for folder in (history, other))
    before = before.dropna(axis="columns", how="all")  # empty columns are the same as none
    pd.testing.assert_frame_equal(before, after, check_like=True, check_dtype=False, rtol=0, atol=0)
    back = run("import", file, "--history", history)
    assert back.exit_code == 0
    assert back.output.strip() == "nothing new: 20 trials are there already"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_look_like_numbers_survive_export_and_import(history, tmp_path, ending):
    file = next(history.glob("*.parquet"))
    rows = pd.read_parquet(file)
    rows["dataset_id"] = ["42", "null"] * 10
    rows["dataset_fingerprint"] = "123456789012e456"
    rows["git_commit"] = [None, "NaN"] * 10
    rows["seed"] = [7, None] * 10
    write_parquet(rows, file)
    exported, other = tmp_path / f"all.{ending}", tmp_path / "other"
    assert run("export", exported, "--history", history).exit_code == 0
    assert "imported 20" in run("import", exported, "--history", other).output
    after = read_history(history_files(other))
    for name in ("dataset_id", "dataset_fingerprint", "git_commit", "seed", "timeline"):
        found = after[name].astype(object).where(after[name].notna(), None)
        assert found.tolist() == rows[name].astype(object).where(rows[name].notna(), None).tolist()


def test_a_history_with_text_among_its_numbers_is_never_made(history, tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("score,config.sft_learning_rate\n0.5,1e-4\n0.6,1e-3\n0.6,abc\n0.7,1e-2\n")
    done = run("import", file, "--dataset", "d", "--model", "m", "--history", history)
    assert "imported 3, refused 1" in done.output, done.output
    assert run("export", tmp_path / "out.parquet", "--history", history).exit_code == 0
    rates = pd.read_parquet(tmp_path / "out.parquet")["config.sft_learning_rate"]
    assert rates.tolist()[-3:] == [1e-4, 1e-3, 1e-2]


def test_show_does_without_columns(history, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    bare = pd.DataFrame({"dataset_id": ["d", "d"], "score": ["0.5", "x"]})
    write_parquet(bare, folder / "bare.parquet")
    shown = run("show", "--history", folder)
    assert shown.exit_code == 0, shown.output
    assert "0.500" in shown.output


def test_values_outside_the_bundled_space_are_named(history, tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("score,config.sft_learning_rate\n0.5,2e-5\n0.6,1e-3\n")
    done = run("import", file, "--dataset", "d", "--model", "tiny-1m", "--history", history)
    assert done.exit_code == 0, done.output
    assert "outside the space sft_grpo of 1.01 M parameters," in done.output
    assert "sft_learning_rate (1 value, 2e-05; the space has 0.0001" in done.output


@pytest.mark.parametrize(
    ("name", "content", "arguments", "found"),
    [
        ("runs.csv", "score,lr\n", [], "no lines below its header"),
        ("empty", None, ["--format", "trl"], "found no run; expected trainer_state.json"),
        ("empty", None, ["--format", "mlflow"], "found no run; expected mlflow.db, or meta.yaml"),
        ("empty", None, ["--format", "csv"], "is read from a file"),
        ("nowhere", None, ["--format", "trl"], "no such file or folder"),
        ("runs.csv", "score;lr\n0.5;1\n", ["--map", "score=scor"], "did you mean 'score'"),
    ],
)
def test_import_of_nothing_says_why(history, tmp_path, name, content, arguments, found):
    source = tmp_path / name
    if content is not None:
        source.write_text(content)
    elif name != "nowhere":
        source.mkdir()
    known = ["--dataset", "d", "--model", "m", "--history", history]
    done = run("import", source, *arguments, *known)
    assert done.exit_code == 2
    assert found in done.output.replace("\n", " ")


WANDB = "ID,Name,State,Runtime,learning_rate,per_device_train_batch_size,packing,max_steps,"


def test_what_refuses_many_lines_is_said_once(history, tmp_path):
    file = tmp_path / "runs.csv"
    line = "r{0},r{0},{1},60,1e-4,8,false,100,100,{2}\n"
    cells = [("finished", "0.5"), ("crashed", "0.1"), ("finished", "50%"), *3 * [("failed", "")]]
    lines = [line.format(number, *each) for number, each in enumerate(cells)]
    file.write_text(WANDB + "train/global_step,eval/accuracy\n" + "".join(lines))
    given = ["import", file, "--dataset", "d", "--model", "tiny-1m", "--history", history]
    wrong = " ".join(run(*given, "--score", "eval/acuracy").output.split())
    assert wrong.count("did you mean 'eval/accuracy'?") == 1
    done = run(*given, "--score", "eval/accuracy")
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "imported 1, refused 5" in told
    assert "eval/accuracy: expected a number such as 0.5, found '50%'" in told
    assert "3 items, lines 5-7" in told
    assert told.count("its state is") == 2  # crashed, and failed
    again = run(*given, "--score", "eval/accuracy")
    assert again.exit_code == 0
    assert "imported 0, refused 5; 1 trial is there already" in " ".join(again.output.split())


def test_items_of_one_reason_are_named_as_far_as_they_can_be():
    assert together(["only"]) == "only"
    assert together([f"a, line {n}" for n in (9, 2, 3)]) == "3 items, lines 2-3, 9"
    names = [f"run-{number}" for number in range(12)]
    assert together(names) == f"12 items: {'; '.join(names[:10])} and 2 more"


def test_a_score_that_is_to_be_low_says_so(history, table):
    maps = ["--map", "score=acc", "--map", "config.sft_learning_rate=lr", "--minimize"]
    done = run("import", table, "--dataset", "d", "--model", "m", *maps, "--history", history)
    assert "score: acc of 2 run(s), with a minus sign, as lower is better" in done.output
    assert read_history(history_files(history))["score"].iloc[-1] == -0.5


def test_export_refuses_other_files_and_empty_histories(history, tmp_path):
    assert "ends in .csv or .parquet" in run("export", tmp_path / "x.xlsx").output
    done = run("export", tmp_path / "x.csv", "--history", tmp_path / "none")
    assert done.exit_code == 2
    assert "nothing to export" in done.output


def test_a_column_is_passed_over_and_a_chart_is_named(history, tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("config.sft_share,score,state,note\n0.5,0.4,odd,a\n")
    given = [file, "--dataset", "d", "--model", "m", "--history", history]
    done = run("import", *given, "--ignore", "state", "--ignore", "note")
    assert done.exit_code == 0, done.output
    assert "were not used" not in done.output
    assert "no such column" in run("import", *given, "--ignore", "nothing").output
    file.write_text('"Step","a - eval/accuracy"\n1,0.5\n')
    done = run("import", *given)
    assert done.exit_code == 2
    assert "is a chart exported from Weights & Biases" in done.output
    assert "Traceback" not in done.output


def test_an_exported_table_holds_no_formula(history, tmp_path):
    rows = read_history(history_files(history))
    rows["dataset_id"] = "=cmd|' /C calc'!A0"
    write_parquet(rows, history / "chain_sum.parquet")
    file = tmp_path / "all.csv"
    assert run("export", file, "--history", history).exit_code == 0
    back = pd.read_csv(file)
    assert set(back["dataset_id"]) == {"'=cmd|' /C calc'!A0"}
    assert back["score"].dtype == float
    other = tmp_path / "other"
    assert run("import", file, "--history", other).exit_code == 0
    assert set(read_history(history_files(other))["dataset_id"]) == {"=cmd|' /C calc'!A0"}
