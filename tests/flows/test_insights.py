"""The insights flow on a part of the bundled history: real trials, the same numbers twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from flows.insights import main
from tasks.insights import pictures
from tasks.paths import HISTORY

FILES = ("bundled--chain_sum", "bundled--leap_year", "bundled-100k--leap_year")

app = Typer()
app.command()(main)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    history = tmp_path / "history"
    history.mkdir()
    for name in FILES:
        shutil.copy(HISTORY / f"{name}.parquet", history)
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"insights": {"shuffles": 20, "trees": 10}}))
    return ["--history", str(history), "--params", str(params)]


def test_a_history_is_looked_at_and_looks_alike_again(prefect_harness, options, tmp_path):
    written = []
    page = tmp_path / "page.md"
    for name in ("one", "two"):
        page.write_text("# Ours\n\n<!-- begin: agreement -->\n<!-- end: agreement -->\n")
        output = tmp_path / name
        done = CliRunner().invoke(app, [*options, "--output", str(output), "--page", str(page)])
        assert done.exit_code == 0, done.output
        files = sorted(p for p in output.rglob("*.*") if p.is_file())
        written.append({str(p.relative_to(output)): p.read_bytes() for p in files})
    assert written[0] == written[1]
    metrics = json.loads(written[0]["metrics.json"])
    assert metrics["history"]["trials"] == 90
    assert metrics["history"]["datasets"] == 2
    assert "tiny-100k for tiny-1m | 1 |" in page.read_text()
    models = pd.read_csv(tmp_path / "one" / "tables" / "models.csv")
    assert models["r2"].notna().all()
    assert "RL: larger groups" in done.output


def test_without_kaleido_the_tables_are_there_and_the_way_is_shown(
    prefect_harness, options, tmp_path, monkeypatch
):
    def refuse(*_args, **_options):
        raise ValueError("Image export requires the Kaleido package")

    monkeypatch.setattr(pictures, "write_images", refuse)
    output = tmp_path / "out"
    more = ["--output", str(output), "--pictures", str(tmp_path / "pictures")]
    done = CliRunner().invoke(app, [*options, *more])
    assert done.exit_code == 0, done.output
    assert (output / "tables" / "rules.csv").is_file()
    assert "pip install 'autopipe[pictures]'" in done.output


def test_an_empty_folder_is_explained(prefect_harness, tmp_path):
    done = CliRunner().invoke(app, ["--history", str(tmp_path), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "git checkout data/history" in done.output
    assert not (tmp_path / "out").exists()
