"""The runs whose export is tested: trained once, copied for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tasks.config import paths
from tasks.delivery.export import export_best
from tasks.runs.folder import RunFolder
from tests.tasks.delivery.runs import (
    COMMON,
    CONFIGS,
    EXECUTION,
    KINDS,
    MODEL,
    SCHEDULE,
    write_dataset,
    write_records,
)
from trials.data.dataset import load_dataset
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import Fidelity, StoppingRules, TrialSpec

TrainOnce = Callable[[str], RunFolder]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, real_worker: Supervisor) -> TrainOnce:
    """``finished(name)``: a run with one real trial."""
    root = tmp_path_factory.mktemp("export")
    datasets = {kind: write_dataset(root / kind, kind).resolve() for kind in set(KINDS.values())}
    bare = shutil.copytree(MODEL, root / "bare-model")
    (bare / "chat_template.jinja").unlink()

    @cache
    def train(name: str) -> RunFolder:
        path = datasets[KINDS[name]]
        spec = TrialSpec(
            trial_id="000-best",
            dataset=str(path),
            dataset_fingerprint=load_dataset(path).fingerprint,
            config=COMMON | CONFIGS[name],
            fidelity=Fidelity(model=str(bare if name.startswith("bare") else MODEL), fraction=1.0),
            seed=EXECUTION.seed,
            folder=str(root / "runs" / name / "trials" / "000-best"),
            schedule=SCHEDULE,
            stopping=StoppingRules(enabled=False),
            allow_user_code=KINDS[name] == "code",
        )
        if spec.allow_user_code:
            with pytest.MonkeyPatch.context() as patch, Supervisor(Launcher()) as worker:
                patch.setenv("PYTHONPATH", f"{datasets['code']}{os.pathsep}{paths.ROOT}")
                result = worker.run(spec)
        else:
            result = real_worker.run(spec)
        assert result.failure is None
        run = RunFolder(root / "runs" / name)
        write_records(run, spec)
        return run

    return train


# Those that show most; the others are combinations of the same parts.
FAST = ("full", "lora", "greedy", "bare_rl", "three")


@pytest.fixture(
    params=[
        name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, finished: TrainOnce, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, so that no test sees what another one exported."""
    ignored = shutil.ignore_patterns("best")
    return RunFolder(Path(shutil.copytree(finished(name).path, tmp_path / name, ignore=ignored)))


@pytest.fixture
def exported(name: str, finished: TrainOnce) -> RunFolder:
    """The finished run itself with its export, made once; tests only read it."""
    run = finished(name)
    if not (run.path / "best").exists():
        export_best.fn(run)
    return run
