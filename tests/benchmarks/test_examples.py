"""Candidates for the bundled example, and the table of their runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import examples
from tasks.history.rows import read_history
from tasks.inputs.catalog import SplitSizes, load_catalog
from tests.histories import bundled_files
from trials.data.dataset import load_dataset


def test_no_candidate_is_in_the_bundled_history() -> None:
    known = set(read_history(bundled_files())["dataset_id"])
    candidates = examples.candidates()
    assert len(candidates) >= 12
    assert not known & set(candidates)
    assert load_catalog().example() in candidates


def test_a_relative_is_built_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "SIZES", SplitSizes(train=20, validation=10, test=12))
    folder = Path(examples.dataset_argument("chain_sum_of_two_digits", tmp_path))
    assert folder.name == "chain_sum_of_two_digits"
    assert len(load_dataset(folder).splits["test"]) == 12
    assert Path(examples.dataset_argument("chain_sum_of_two_digits", tmp_path)) == folder


def test_the_table_counts_what_is_beyond_noise(tmp_path: Path) -> None:
    table = tmp_path / "examples.csv"
    row = {
        "model": examples.EXAMPLE_MODEL,
        "dataset": "gcd",
        "budget": "",
        "base": 0.1,
        "default": 0.5,
        "best": 0.6,
    }
    for seed, (gain, error) in enumerate([(0.10, 0.02), (0.03, 0.02), (None, None)]):
        examples.record(table, row | {"seed": seed, "gain": gain, "gain_se": error})
    examples.record(table, row | {"seed": 3, "budget": "6", "gain": 0.9, "gain_se": 0.1})
    examples.record(table, row | {"seed": 3, "model": "other", "gain": 0.9, "gain_se": 0.1})
    shown = CliRunner().invoke(
        examples.app,
        ["show", "--datasets", "gcd", "--table", str(table)],
        env={"COLUMNS": "140"},
    )
    assert shown.exit_code == 0, shown.output
    assert "1 of 3" in shown.output
    assert "+0.043" in shown.output


def test_what_is_in_the_table_is_not_played_again(tmp_path: Path) -> None:
    table = tmp_path / "examples.csv"
    row = {
        "model": examples.EXAMPLE_MODEL,
        "dataset": "gcd",
        "budget": "2",
        "gain": 0.1,
        "gain_se": 0.02,
    }
    for seed in (1, 0):
        examples.record(table, row | {"seed": seed})
    kept = table.read_bytes()
    options = ["--datasets", "gcd", "--seeds", "2", "--budget", "2", "--table", str(table)]
    done = CliRunner().invoke(examples.app, ["run", *options, "--results", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert table.read_bytes() == kept
    selection = examples.Selection(budget="2", table=table)
    assert list(selection.finished()["seed"]) == [0, 1]
    assert not (tmp_path / "runs").exists()


def test_names_that_would_lead_elsewhere_remove_nothing(tmp_path: Path) -> None:
    other = tmp_path / "x.default.0"  # where the second name would lead
    other.mkdir()
    options = ["--datasets", "gcd,../x", "--results", str(tmp_path / "results"), "--seeds", "1"]
    refused = CliRunner().invoke(examples.app, ["run", *options])
    assert refused.exit_code == 2
    assert "'../x'" in refused.output
    budget = ["--datasets", "gcd", "--budget", "../x"]
    assert CliRunner().invoke(examples.app, ["run", *budget]).exit_code == 2
    model = ["--datasets", "gcd", "--model", "../x"]
    assert CliRunner().invoke(examples.app, ["run", *model]).exit_code == 2
    assert other.is_dir()
    assert not (tmp_path / "results").exists()
