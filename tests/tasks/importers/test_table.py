"""Plain tables, with columns under our names or mapped to them."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.history_checks import check_history
from tasks.importers.common import Target
from tasks.importers.sources import detect, join_history, read_source
from tasks.importers.table import import_table
from trials.errors import SettingsError

COLUMNS = {"score": "eval/accuracy", "config.sft_learning_rate": "lr", "dataset_id": "task"}
TARGET = Target(name="t", model_id="m", columns=COLUMNS)


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
    imported = import_table(table, TARGET)
    assert [row["score"] for row in imported.rows] == [0.5, 0.2, 0.3]
    assert [row["dataset_id"] for row in imported.rows] == ["a", "b", "b"]
    assert [row["config.sft_batch_size"] for row in imported.rows] == [8, 8, 16]
    assert "note" not in imported.rows[0]
    [refused] = imported.refused
    assert "no score in its line" in refused.reason
    _, bad = check_history(pd.DataFrame(imported.rows))
    assert bad["trial_id"].tolist() == ["t/b/runs-000003"]
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
        import_table(table, Target(name="t", columns=columns))


def test_the_format_is_found(tmp_path, table):
    assert detect(table) == "csv"
    export = tmp_path / "w.csv"
    export.write_text('"Name","State","lr"\n')
    assert detect(export) == "wandb"
    (tmp_path / "out" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-3" / "trainer_state.json").write_text("{}")
    assert detect(tmp_path / "out") == "trl"
    (tmp_path / "mlruns" / "0" / "r" / "params").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "r" / "meta.yaml").write_text("status: 3")
    assert detect(tmp_path / "mlruns") == "mlflow"
    with pytest.raises(SettingsError, match="no such file or folder"):
        detect(tmp_path / "nowhere")


def test_imports_add_only_what_is_new_and_never_write_over_each_other(table, tmp_path):
    history = tmp_path / "history"
    first = join_history(read_source(table, TARGET), history, "../t")
    assert first.imported == 2
    assert first.quarantined == 1
    assert first.file is not None
    assert first.file.parent == history
    again = join_history(read_source(table, TARGET), history, "../t")
    # The bad row is bad again; the good ones are known.
    assert again.imported == 0
    assert again.file is None
    assert sum("in the history already" in each.reason for each in again.refused) == 2
