"""Real trials for tests: running them, and comparing two bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import TrialResult, TrialSpec


def run(
    *specs: TrialSpec, launcher: Launcher | None = None, trials_per_worker: int = 1000
) -> list[TrialResult]:
    """Runs trials one after another; all in one warm worker unless said otherwise."""
    with Supervisor(launcher or Launcher(), trials_per_worker=trials_per_worker) as supervisor:
        return [supervisor.run(spec) for spec in specs]


def checkpoint_at(trial: Path | str, step: int) -> str:
    """The checkpoint that a trial left after a step."""
    return str(Path(trial) / "checkpoint" / f"step-{step:06d}")


def weights(spec: TrialSpec, name: str = "final") -> dict[str, torch.Tensor]:
    folder = Path(spec.folder) / "checkpoint" / name
    adapter = folder / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else folder / "model.safetensors")


def assert_same_run(
    one: tuple[TrialSpec, TrialResult], other: tuple[TrialSpec, TrialResult]
) -> None:
    """Bit for bit: weights, curve, scores of every row and signals."""
    (spec, result), (other_spec, other_result) = one, other
    assert (result.state, result.failure) == (other_result.state, other_result.failure)
    assert result.curve == other_result.curve
    assert (result.score, result.score_se) == (other_result.score, other_result.score_se)
    assert result.outcomes == other_result.outcomes
    assert result.signals == other_result.signals
    ours, theirs = weights(spec), weights(other_spec)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def metric(result: TrialResult, stage: str, name: str) -> list[float]:
    return [p.value for p in result.curve if (p.stage, p.metric) == (stage, name)]
