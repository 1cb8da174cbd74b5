"""The command on a part of the bundled history: real trials."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from benchmarks import pictures
from benchmarks.insights.flow import main
from tasks.history.rows import write_parquet
from tests.histories import bundled

app = Typer()
app.command()(main)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    history = tmp_path / "history"
    history.mkdir()
    rows = {name: bundled(name) for name in ("chain_sum", "leap_year")}
    # As if a smaller model had ordered leap_year's configurations nearly alike.
    ids = "smaller-" + rows["leap_year"]["trial_id"]
    smaller = {"trial_id": ids, "model_id": "tiny-100k", "meta.model_log_parameters": 5.0}
    score = rows["leap_year"]["score"] + 0.01 * np.sin(np.arange(20))
    rows["smaller"] = rows["leap_year"].assign(score=score.clip(0, 1), **smaller)
    for name, part in rows.items():
        write_parquet(part, history / f"{name}.parquet")
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"insights": {"shuffles": 20, "trees": 10}}))
    return ["--history", str(history), "--params", str(params)]


@pytest.mark.slow
def test_tables_metrics_and_page_are_there_and_the_way_to_pictures_is_shown(
    options, tmp_path, monkeypatch
):
    def refuse(*_args, **_options):
        raise ValueError("Image export requires the Kaleido package")

    monkeypatch.setattr(pictures, "write_images", refuse)
    page, output = tmp_path / "page.md", tmp_path / "out"
    page.write_text("# Ours\n\n<!-- begin: agreement -->\n<!-- end: agreement -->\n")
    more = ["--output", str(output), "--page", str(page), "--pictures", str(tmp_path / "pictures")]
    done = CliRunner().invoke(app, [*options, *more])
    assert done.exit_code == 0, done.output
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["history"]["trials"], metrics["history"]["datasets"]) == (60, 2)
    assert "tiny-100k for tiny-1m | 1 |" in page.read_text()
    assert pd.read_csv(output / "tables" / "models.csv")["r2"].notna().all()
    assert "RL: larger groups" in done.output
    assert "pip install 'autopipe[pictures]'" in done.output


def test_bad_rows_and_a_history_too_thin_for_most_questions(options, tmp_path):
    history = Path(options[1])
    for name in ("leap_year", "smaller"):
        (history / f"{name}.parquet").unlink()
    rows = bundled("chain_sum")
    rows.loc[0, "cost_seconds"] = -1.0
    write_parquet(rows, history / "chain_sum.parquet")
    page, output = tmp_path / "page.md", tmp_path / "out"
    page.write_text("<!-- begin: rules -->\n<!-- end: rules -->\n")
    done = CliRunner().invoke(app, [*options, "--output", str(output), "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert json.loads((output / "metrics.json").read_text())["history"]["trials"] == 19
    assert (history / "quarantine" / "read.parquet").is_file()
    assert "| **open** |" in page.read_text()


def test_an_empty_folder_is_explained(tmp_path):
    done = CliRunner().invoke(app, ["--history", str(tmp_path), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "git checkout data/history" in done.output
    assert not (tmp_path / "out").exists()
