"""Real checkpoint entries on disk, with a payload of a given size, and ways to damage them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trials.checkpoints.entries import (
    Checkpoint,
    Manifest,
    entry_path,
    partial_path,
    publish,
    read_checkpoint,
    stage_keys,
)
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.plan import StagePlan
from trials.spec.records import Fidelity, TrialSpec

H = validate({})
PLAN = StagePlan(sft=20, dpo=10, rl=30, rl_boundary=5)


def asking_spec(fraction: float = 1.0, **changes: Any) -> TrialSpec:
    fields: dict[str, Any] = {
        "trial_id": "asking",
        "dataset": "data",
        "dataset_fingerprint": "abc",
        "config": {},
        "fidelity": Fidelity(model="models/tiny", fraction=fraction),
        "folder": "asking",
    }
    return TrialSpec(**{**fields, **changes})


def changed(h: Hyperparameters, *names: str) -> Hyperparameters:
    """A copy in which some fields have a value of their own; keys do not ask for legal ones."""
    return h.model_copy(update=dict.fromkeys(names, -12345))


def keys(
    h: Hyperparameters = H, plan: StagePlan = PLAN, spec: TrialSpec | None = None
) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about values of another type
        return dict(stage_keys(spec or asking_spec(), h, plan))


KEYS = keys()


def fill(partial: Path, kind: str = "trainer", size: int = 10, text: str = "weights") -> Path:
    """What a writer leaves before it publishes: ``size`` bytes of payload."""
    (partial / kind / "deep").mkdir(parents=True)
    (partial / "events.jsonl").write_text('{"kind": "phase"}\n', encoding="utf-8")
    (partial / kind / "model.safetensors").write_bytes((text * size).encode()[:size])
    (partial / kind / "deep" / "state.json").write_text("{}", encoding="utf-8")
    return partial


def manifest(trial: str, step: int, stage: Any, kind: Any, processes: int = 1) -> Manifest:
    """What a writer says of an entry before its files are known."""
    return Manifest(
        key=KEYS[stage],
        stage=stage,
        step=step,
        kind=kind,
        trial_id=trial,
        processes=processes,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        files={},
    )


def write_entry(
    root: Path,
    trial: str,
    step: int,
    stage: Any = "sft",
    *,
    kind: Any = "trainer",
    key: str | None = None,
    size: int = 10,
    processes: int = 1,
    created: str | None = None,
) -> Checkpoint:
    partial = fill(partial_path(entry_path(root / trial, step)), kind, size)
    described = manifest(trial, step, stage, kind, processes=processes)
    if key is not None:
        described = described.model_copy(update={"key": key})
    if created is not None:
        described = described.model_copy(update={"created": created})
    checkpoint = publish(partial, root / trial, described)
    reread = read_checkpoint(checkpoint.path)
    assert reread is not None
    return reread


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda e: os.truncate(e / "trainer/model.safetensors", 3), "has 3 bytes, not 10"),
    "flipped": (lambda e: (e / "trainer/model.safetensors").write_bytes(b"Weightswei"), "SHA-256"),
    "gone": (lambda e: (e / "trainer/deep/state.json").unlink(), "is missing"),
    "events": (lambda e: (e / "events.jsonl").unlink(), "is missing"),
    "folder": (lambda e: (e / "trainer").rename(e / "weights"), "is missing"),
}


def in_two_threads(work: Callable[[int], Any]) -> list[Any]:
    """Runs ``work(0)`` and ``work(1)`` at once; raises what they raise."""
    barrier, results = threading.Barrier(2), [None, None]
    errors: list[BaseException] = []

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
