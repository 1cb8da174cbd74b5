"""Plain tables, with columns under our names or mapped to them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from tasks.history.checks import check_history
from tasks.history.curves import unpack_curve
from tasks.importers.sources import detect_format, join_history, read_source
from tasks.translation.results import ImportOptions
from trials.io.errors import SettingsError

COLUMNS = {"score": "eval/accuracy", "config.sft_learning_rate": "lr", "dataset_id": "task"}
TARGET = ImportOptions(name="t", model_id="m", columns=COLUMNS)


@pytest.fixture(params=["csv", "parquet"])
def table(request, tmp_path):
    frame = pd.DataFrame(
        {
            "task": ["a", "a", "b", "b"],
            "lr": [1e-3, 1e-4, 5.0, 1e-5],
            "eval/accuracy": [0.5, None, 0.2, 0.3],
            "config.sft_batch_size": [8, 8, 8, 16],
            "note": ["x", "", "y", "z"],
        }
    )
    file = tmp_path / f"runs.{request.param}"
    if request.param == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)
    return file


def test_mapped_and_own_columns_become_rows(table):
    imported = read_source(table, TARGET)
    assert [row["score"] for row in imported.rows] == [0.5, 0.2, 0.3]
    assert [row["dataset_id"] for row in imported.rows] == ["a", "b", "b"]
    assert [row["config.sft_batch_size"] for row in imported.rows] == [8, 8, 16]
    assert "note" not in imported.rows[0]
    [refused] = imported.rejected
    assert "no score in its line" in refused.reason
    assert imported.notes == ["columns that were not used: 'note'"]
    _, bad = check_history(pd.DataFrame(imported.rows))
    [trial] = bad["trial_id"]
    assert imported.places[trial] in (f"{table.name}, line 4", f"{table.name}, row 3")
    assert "sft_learning_rate=5.0" in bad["reason"].iloc[0]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"scores": "eval/accuracy"}, "did you mean 'score'"),
        ({"config.sft_learning_rat": "lr"}, "did you mean 'config.sft_learning_rate'"),
        ({"score": "eval/acuracy"}, "did you mean 'eval/accuracy'"),
    ],
)
def test_unknown_fields_and_columns_are_refused(table, columns, found):
    with pytest.raises(SettingsError, match=found):
        read_source(table, ImportOptions(name="t", columns=columns))


def write(folder, text, name="runs.csv"):
    file = folder / name
    file.write_text(text)
    return file


RATES = ImportOptions(
    name="t", dataset_id="d", model_id="m", columns={"config.sft_learning_rate": "lr"}
)


def test_a_bad_cell_refuses_its_own_line_and_no_other(tmp_path):
    file = write(tmp_path, "score,lr\n0.5,1e-3\n50%,1e-3\n0.7,1e-4\n0.6,abc\n")
    imported = read_source(file, RATES)
    assert [row["score"] for row in imported.rows] == [0.5, 0.7]
    assert [row["config.sft_learning_rate"] for row in imported.rows] == [1e-3, 1e-4]
    reasons = {refused.item: refused.reason for refused in imported.rejected}
    assert reasons == {
        "runs.csv, line 3": "score: expected a number, found '50%'",
        "runs.csv, line 5": "config.sft_learning_rate: expected a number, found 'abc' "
        "in column 'lr'",
    }


def test_text_beside_numbers_of_a_parquet_file_is_told_apart_as_well(tmp_path):
    frame = pd.DataFrame({"score": [0.5, 0.7], "lr": ["1e-3", "abc"]})
    frame.to_parquet(tmp_path / "runs.parquet")
    imported = read_source(tmp_path / "runs.parquet", RATES)
    assert [row["config.sft_learning_rate"] for row in imported.rows] == [1e-3]
    assert imported.rejected[0].item == "runs.parquet, row 2"


def test_lines_are_known_by_what_is_in_them(tmp_path):
    lines = ["0.5,1e-3", "0.6,1e-4", "0.7,1e-2", "0.6,1e-4"]
    first = read_source(write(tmp_path, "\n".join(["score,lr", *lines[:2]])), RATES)
    more = read_source(write(tmp_path, "\n".join(["score,lr", *reversed(lines)])), RATES)
    assert len({row["trial_id"] for row in more.rows}) == 4  # equal lines are two runs
    known = {row["trial_id"] for row in first.rows}
    assert known < {row["trial_id"] for row in more.rows}
    new = sorted(row["score"] for row in more.rows if row["trial_id"] not in known)
    assert new == [0.6, 0.7]
    other = read_source(write(tmp_path, "score,lr\n0.1,1e-3\n"), RATES)
    assert other.rows[0]["trial_id"] not in known
    elsewhere = replace(RATES, model_id="n")
    assert read_source(tmp_path / "runs.csv", elsewhere).rows[0]["trial_id"] not in {
        row["trial_id"] for row in other.rows
    }


def test_unknown_hyperparameters_are_refused_and_unused_columns_listed(tmp_path):
    text = "score,config.sft_learningrate,config.sft_batch_size\n0.5,1e-3,8\n"
    with pytest.raises(SettingsError, match=r"did you mean 'config\.sft_learning_rate'"):
        read_source(write(tmp_path, text), RATES_OF_NONE)
    told = replace(RATES_OF_NONE, columns={"config.sft_learning_rate": "config.sft_learningrate"})
    assert read_source(tmp_path / "runs.csv", told).rows[0]["config.sft_learning_rate"] == 1e-3
    imported = read_source(write(tmp_path, "score,cost_secs,lr,x\n0.5,3,1e-3,4\n"), RATES)
    assert imported.notes == [
        "columns that were not used: 'cost_secs'; did you mean 'cost_seconds'?, 'x'"
    ]


RATES_OF_NONE = replace(RATES, columns={})


def test_a_score_that_is_to_be_low_is_turned_round_with_its_curve(tmp_path):
    curve = '{""sft/score"":[[5,10],[0.4,0.2]],""sft/loss"":[[5],[1.0]]}'
    file = write(tmp_path, f'score,wer,lr,curve,signal.score_best\n0.9,0.2,1e-3,"{curve}",0.4\n')
    [row] = read_source(file, replace(RATES, minimize=True)).rows
    assert row["score"] == -0.9
    assert "signal.score_best" not in row
    series = unpack_curve(row["curve"])
    assert series["sft", "score"] == ([5, 10], [-0.4, -0.2])
    assert series["sft", "loss"] == ([5], [1.0])
    named = read_source(file, replace(RATES, score="-wer"))
    assert named.rows[0]["score"] == -0.2
    assert dict(named.metrics) == {("wer", -1.0): 1}
    assert read_source(file, RATES).rows[0]["score"] == 0.9


def test_the_format_is_found(tmp_path, table):
    assert detect_format(table) == "csv"
    export = tmp_path / "w.csv"
    for delimiter in ",;":
        export.write_text(2 * delimiter.join(('"Name"', '"State"', '"lr"\n')))
        assert detect_format(export) == "wandb"
    assert detect_format(write(tmp_path, "score,lr\n1,2\n", "RUNS.CSV")) == "csv"
    (tmp_path / "out" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-3" / "trainer_state.json").write_text("{}")
    assert detect_format(tmp_path / "out") == "trl"
    (tmp_path / "mlruns" / "0" / "r" / "params").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "r" / "meta.yaml").write_text("status: 3")
    assert detect_format(tmp_path / "mlruns") == "mlflow"
    with pytest.raises(SettingsError, match="no such file or folder"):
        detect_format(tmp_path / "nowhere")


def test_imports_add_only_what_is_new_and_never_write_over_each_other(table, tmp_path):
    history = tmp_path / "history"
    first = join_history(read_source(table, TARGET), history, "../t")
    assert len(first.rows) == 2
    assert first.quarantined == 1
    assert first.file is not None
    assert first.file.parent == history
    again = join_history(read_source(table, TARGET), history, "../t")
    # The bad row is bad again; the good ones are known.
    assert again.rows == []
    assert again.file is None
    assert again.known == 2
    assert len(again.rejected) == len(first.rejected)
