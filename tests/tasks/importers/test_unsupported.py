"""What is not imported is named for what it is, with the reason and what would work."""

from __future__ import annotations

import sqlite3

import pytest

from tasks.importers.sources import read_source
from tasks.translation.results import ImportOptions
from trials.io.errors import SettingsError

TARGET = ImportOptions(name="team", dataset_id="sums", model_id="m")
HEADS = [
    '"Step","run-1 - eval/accuracy","run-1 - eval/accuracy__MIN"',
    '"train/global_step","a - loss","b - loss"',
    '"Relative Time (Process)","x - reward"',
    '"train/epoch","Group: a - eval/loss","Group: a - eval/loss__MIN","Group: b - eval/loss"',
    '"tokens","a - eval/loss","a - eval/loss__MIN","a - eval/loss__MAX","a - _step"',
]


def refusal(source):
    with pytest.raises(SettingsError) as caught:
        read_source(source, TARGET)
    return str(caught.value)


@pytest.mark.parametrize("head", HEADS)
def test_a_chart_of_wandb(tmp_path, head):
    file = tmp_path / "wandb_export.csv"
    file.write_text(head + "\n" + ",".join(["1"] * len(head.split(","))) + "\n")
    found = refusal(file)
    assert "chart exported from Weights & Biases" in found
    assert "export the table of runs" in found


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("model.pkl", b"\x80\x04.", "a pickle"),
        ("training_args.bin", b"PK", "a pickle"),
        ("runs.xlsx", b"PK", "save it as CSV"),
        ("run-x.wandb", b":W&B", "wandb-summary.json"),
        ("events.out.tfevents.1.host", b"", "TensorBoard"),
        ("llama.yaml", b"stage: ppo\nfinetuning_type: lora\n", "LLaMA-Factory file of stage ppo"),
        ("axolotl.yaml", b"base_model: m\nmicro_batch_size: 2\noutput_dir: o\n", "Axolotl file"),
        ("config.yaml", b"learning_rate:\n  value: 0.1\n", "a file of settings"),
        ("args.json", b'{"learning_rate": 0.1}', "a file of settings"),
        ("notes.txt", b"hello", "nothing of the kind"),
    ],
)
def test_files_that_people_have(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    found = refusal(tmp_path / name)
    assert named in found
    assert name in found


@pytest.mark.parametrize(
    ("tables", "named"),
    [(("studies", "trials", "trial_params"), "trials_dataframe"), (("books",), "books")],
)
def test_databases(tmp_path, tables, named):
    file = tmp_path / "storage.db"
    with sqlite3.connect(file) as base:
        for table in tables:
            base.execute(f"create table {table} (id integer)")
    assert named in refusal(file)


def test_a_curve_of_tensorboard(tmp_path):
    source = tmp_path / "curve.csv"
    source.write_text("Wall time,Step,Value\n1700000000.0,10,0.5\n")
    assert "curve exported from TensorBoard" in refusal(source)


def test_folders(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "events.out.tfevents.1").write_bytes(b"")
    assert "TensorBoard" in refusal(tmp_path / "logs")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "adapter_config.json").write_text("{}")
    assert "without the trainer_state.json" in refusal(tmp_path / "best")
