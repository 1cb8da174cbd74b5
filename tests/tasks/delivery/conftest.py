"""The runs whose export is tested: trained once, copied for each test."""

from __future__ import annotations

import os
import shutil
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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Runs with one real trial each, all trained in one launched process."""
    root = tmp_path_factory.mktemp("export")
    datasets = {kind: write_dataset(root / kind, kind).resolve() for kind in set(KINDS.values())}
    bare = shutil.copytree(MODEL, root / "bare-model")
    (bare / "chat_template.jinja").unlink()
    specs = {}
    for name, config in CONFIGS.items():
        path = datasets[KINDS[name]]
        specs[name] = TrialSpec(
            trial_id="000-best",
            dataset=str(path),
            dataset_fingerprint=load_dataset(path).fingerprint,
            config=COMMON | config,
            fidelity=Fidelity(model=str(bare if name.startswith("bare") else MODEL), fraction=1.0),
            seed=EXECUTION.seed,
            folder=str(root / "runs" / name / "trials" / "000-best"),
            schedule=SCHEDULE,
            stopping=StoppingRules(enabled=False),
            allow_user_code=KINDS[name] == "code",
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{datasets['code']}{os.pathsep}{paths.ROOT}")
        with Supervisor(Launcher()) as supervisor:
            results = [supervisor.run(spec) for spec in specs.values()]
    assert [result.failure for result in results] == [None] * len(results)
    runs = {name: RunFolder(root / "runs" / name) for name in specs}
    for name, run in runs.items():
        write_records(run, specs[name])
    return runs


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, finished: dict[str, RunFolder], tmp_path: Path) -> RunFolder:
    """A copy of the finished run, so that no test sees what another one exported."""
    ignored = shutil.ignore_patterns("best")
    return RunFolder(Path(shutil.copytree(finished[name].path, tmp_path / name, ignore=ignored)))


@pytest.fixture
def exported(name: str, finished: dict[str, RunFolder]) -> RunFolder:
    """The finished run itself with its export, made once; tests only read it."""
    run = finished[name]
    if not (run.path / "best").exists():
        export_best.fn(run)
    return run
