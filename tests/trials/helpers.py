"""A small real dataset and specs of trials that take about a second once they are launched."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trials.dataset import fingerprint
from trials.records import Fidelity, Schedule, TrialSpec

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "models" / "tiny-100k"
SIZES = {"train": 40, "validation": 12, "test": 8}
SCHEDULE = Schedule(
    total_steps=8,
    max_length=64,
    max_completion_tokens=4,
    eval_rows=8,
    eval_batch_size=8,
    eval_points=(0.25, 0.5, 0.75, 1.0),
)
CONFIG: dict[str, Any] = {
    "sft_share": 0.5,
    "sft_batch_size": 4,
    "sft_learning_rate": 1e-3,
    "rl_batch_size": 8,
    "rl_num_generations": 4,
    "rl_learning_rate": 1e-3,
    "rl_beta": 0.05,
}
LORA: dict[str, Any] = {"adapter": "lora", "lora_rank": 4, "lora_dropout": 0.1}


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def sums(count: int, start: int = 0) -> list[dict[str, str]]:
    """Rows of one-digit sums with one-digit answers, repeated with other wordings when used up."""
    pairs = [(a, b) for a in range(10) for b in range(10) if a + b < 10]
    wordings = ("{} + {} =", "Add {} and {}.", "What is {} + {}?")
    cases = [(w.format(a, b), a + b) for w, (a, b) in itertools.product(wordings, pairs)]
    return [
        {"prompt": prompt, "completion": str(total), "answer": str(total)}
        for prompt, total in cases[start : start + count]
    ]


def write_dataset(folder: Path, card: str = "", sizes: Mapping[str, int] = SIZES) -> Path:
    start = 0
    for split, size in sizes.items():
        write_rows(folder / f"{split}.jsonl", sums(size, start))
        start += size
    if card:
        (folder / "dataset.yaml").write_text(card, encoding="utf-8")
    return folder


def make_spec(
    folder: Path,
    dataset: Path,
    config: Mapping[str, Any] | None = None,
    fraction: float = 1.0,
    **changes: Any,
) -> TrialSpec:
    fields: dict[str, Any] = {
        "trial_id": folder.name,
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "config": {**CONFIG, **(config or {})},
        "fidelity": Fidelity(model=str(TINY), fraction=fraction),
        "folder": str(folder),
        "schedule": SCHEDULE,
    }
    return TrialSpec(**{**fields, **changes})
