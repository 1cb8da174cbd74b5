"""A small real dataset and specs of trials that take about a second once they are launched."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trials.data.dataset import fingerprint
from trials.io.watchdog import SUPERVISOR_VARIABLE
from trials.process.launch import Launcher, log_tail
from trials.spec.records import Fidelity, Schedule, TrialSpec

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "models" / "tiny-100k"
SHARED_VARIABLE = "AUTOPIPE_TEST_SHARED"  # set in the worker that many tests share
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


def write_preferences(folder: Path, count: int = 16) -> Path:
    """Adds preference pairs on training prompts: the right sum, and one too many."""
    rows = [
        {
            "prompt": row["prompt"],
            "chosen": row["completion"],
            "rejected": str((int(row["answer"]) + 1) % 10),
        }
        for row in sums(count)
    ]
    write_rows(folder / "preferences.jsonl", rows)
    return folder


class SharedLauncher(Launcher):
    """Launches the worker that many tests share, and marks what belongs to it."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {SHARED_VARIABLE: "1"}


def trial_processes() -> list[psutil.Process]:
    """Workers and what they started, but for the shared one, below this process."""
    started = []
    for child in psutil.Process().children(recursive=True):
        try:
            told = child.environ()
            if child.status() == psutil.STATUS_ZOMBIE or SHARED_VARIABLE in told:
                continue
            if SUPERVISOR_VARIABLE in told:
                started.append(child)
        except psutil.Error:
            continue
    return started


def training_processes() -> Iterator[psutil.Process]:
    """The processes that train for this one, without their launchers."""
    for child in psutil.Process().children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        if "trials.process.worker" in command and not any("accelerate" in part for part in command):
            yield child


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


@dataclass(frozen=True)
class DirectLauncher(Launcher):
    """Runs a program without the seconds that Accelerate's own start-up takes."""

    program: str = ""

    def command(self, module: str, files: Sequence[Path]) -> list[str]:
        return [sys.executable, "-c", self.program, *map(str, files)]


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def wait_for_child(log: Path, within: float = 30) -> int:
    """Process id that the program printed after the word ``child``."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for line in log_tail(log).splitlines():
            if line.startswith("child "):
                return int(line.split()[1])
        time.sleep(0.05)
    raise AssertionError(f"no child within {within} s: {log_tail(log)}")
