"""The search played on tables of other fields."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import outside

SPACE = [
    {"name": "lr", "type": "float", "lower": 1e-4, "upper": 1.0, "log": True},
    {"name": "booster", "type": "cat", "log": False, "choices": ["tree", "linear"]},
    {"name": "depth", "type": "int", "lower": 1, "upper": 8, "log": False,
     "parent": "booster", "active_when": ["tree"]},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables of one suite: three instances with 20 past trials and 12 candidates each."""
    rng = np.random.default_rng(0)
    booster = rng.choice(["tree", "linear"], 96)
    lr = 10.0 ** rng.uniform(-4, 0, 96)
    depth = np.where(booster == "tree", rng.integers(1, 9, 96), np.nan)
    rows = pd.DataFrame({"instance": np.repeat(["1", "2", "3"], 32), "lr": lr, "booster": booster})
    rows["depth"], rows["score_1"] = depth, 0.0
    rows["sample"] = (["history"] * 20 + ["pool"] * 12) * 3
    rows["score_2"] = (np.log10(lr) + 2) ** 2 + (booster == "tree")  # less is better
    rows.to_parquet(tmp_path / "toy.parquet")
    suite = {"maximize": False, "cost_at_score": [0.1, 1.0], "hyperparameters": SPACE}
    (tmp_path / "spaces.json").write_text(json.dumps({"toy": suite}))
    return tmp_path


def test_every_target_is_searched_with_and_without_a_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "COSTS", (1, 4))
    app = typer.Typer()
    app.command()(outside.main)
    csv = folder / "regrets.csv"
    command = [str(folder), "--suite", "toy", "--ablate", "ranker", "--instances", "2"]
    result = CliRunner().invoke(app, [*command, "--csv", str(csv)])
    assert result.exit_code == 0, result.output
    found = pd.read_csv(csv)
    assert sorted(found["arm"].unique()) == ["whole", "without ranker"]
    assert sorted(found["instance"].unique()) == [1, 2]
    assert found["cost 4"].between(0, 1).all()
    assert (found["cost 4"] <= found["cost 1"]).all()
    assert "without ranker" in result.output


def test_a_conditional_hyperparameter_hangs_on_its_parent() -> None:
    space = outside.space_of(SPACE)
    assert list(space.conditional_hyperparameters) == ["depth"]
    assert space["lr"].log
