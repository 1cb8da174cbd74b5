"""The real command for a schedule: it works when there is something new, and promotes what is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.delivery.promotion import Promotion
from tasks.history.rows import history_files
from tests.flows.running import begin, printed, results
from trials.spec.records import read_record

pytestmark = pytest.mark.slow


def sums(file: Path, count: int) -> None:
    """Sums of two small numbers, each once: what a small model learns in seconds."""
    rows = [(i % 30, i // 30) for i in range(count)]
    lines = [
        json.dumps({"prompt": f"{a} + {b} =", "completion": str(a + b), "answer": str(a + b)})
        for a, b in rows
    ]
    file.write_text("\n".join(lines) + "\n")


def recurring(home: Path, dataset: Path) -> str:
    """What one call says, which must end well."""
    before = len(printed(home)) if (home / "log.txt").exists() else 0
    arguments = ["--model", "tiny-100k", "--budget", "2", "--history", str(home / "history")]
    process = begin(home, "recurring", str(dataset), *arguments)
    assert process.wait(timeout=900) == 0, printed(home)[before:]
    return printed(home)[before:]


def test_it_tunes_once_and_again_when_the_data_changed(tmp_path: Path) -> None:
    home, dataset = tmp_path / "home", tmp_path / "sums.jsonl"
    sums(dataset, 400)
    first = recurring(home, dataset)
    assert "its first run" in first
    trials = results(home)
    assert len(trials) == 2
    [note] = (home / "promoted").glob("*/promotion.json")
    promoted = read_record(note, Promotion)
    assert promoted.p_value < 0.05
    assert (note.parent / "best").is_dir()
    assert (home / "offline" / "validation.json").exists()
    assert len(history_files(home / "history")) == 1

    assert "nothing new since run" in recurring(home, dataset)
    assert results(home) == trials

    sums(dataset, 500)
    second = recurring(home, dataset)
    assert "the dataset changed" in second
    assert f"against the incumbent, of run {promoted.run_id}" in " ".join(second.split())
    assert len(results(home)) == 4
    assert len(history_files(home / "history")) == 2
