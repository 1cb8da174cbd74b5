"""A winner takes its place only when it is better beyond noise: real models, real measurements."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from prefect import flow

from tasks.devices import launchers_for
from tasks.paths import DATA
from tasks.promotion import Decision, Promotion, challenge, incumbent_of, install, promoted_folder
from tasks.run_folder import RunFolder
from tests.tasks.conftest import MakeRun
from trials.errors import SettingsError
from trials.records import Fidelity, read_record, write_json

TINY = DATA / "models" / "tiny-100k"


@pytest.fixture
def run(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run whose winner has the weights of its base model: equally good."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    rng = random.Random(0)
    for split, count in (("train", 40), ("validation", 40), ("test", 12)):
        rows = []
        for _ in range(count):
            a, b = rng.randrange(10_000), rng.randrange(10_000)
            rows.append({"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / f"{split}.jsonl").write_text(text)
    run = make_run()
    info = run.info()
    run.write_info(
        info.model_copy(update={"dataset": info.dataset.model_copy(update={"path": str(data)})})
    )
    winner = next(t for t in run.trials() if t.spec.trial_id == run.summary().best.trial_id)
    spec = winner.spec.model_copy(
        update={"dataset": str(data), "fidelity": Fidelity(model=str(TINY), fraction=1.0)}
    )
    write_json(winner.folder / "spec.json", spec)
    shutil.copytree(TINY, winner.folder / "checkpoint" / "final")
    return run


def decide(run: RunFolder) -> Decision:
    @flow
    def one() -> Decision:
        [launcher] = launchers_for(1, 1)
        return challenge(run, 1000, launcher)

    return one()


def test_an_equal_one_is_not_promoted(prefect_harness, run: RunFolder) -> None:
    decision = decide(run)
    assert not decision.promoted
    assert decision.against == "the base model"
    assert decision.gain == 0
    assert decision.rows == 40
    assert incumbent_of(promoted_folder("add", "tiny-m")) is None


def test_a_run_without_its_end_or_its_weights_is_refused(prefect_harness, make_run, run) -> None:
    shutil.rmtree(run.trial_folder(run.summary().best.trial_id) / "checkpoint")
    with pytest.raises(SettingsError, match="weights are gone"):
        decide(run)
    (run.path / "summary.json").unlink()
    with pytest.raises(SettingsError, match="--resume run-1"):
        decide(run)


def promotion(run_id: str) -> Promotion:
    return Promotion(
        run_id=run_id, trial_id="t", config={}, dataset_fingerprint="f", validation=0.5, rows=9,
        beaten=None, gain=0.1, gain_se=0.01, p_value=0.001, promoted="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_the_one_before_stays_beside_it(tmp_path: Path) -> None:
    place, weights, best = tmp_path / "promoted" / "x", tmp_path / "w", tmp_path / "b"
    for folder in (weights, best):
        folder.mkdir()
    for name in ("first", "second", "third"):
        (weights / "model").write_text(name)
        install(place, promotion(name), weights, best)
    assert incumbent_of(place).run_id == "third"
    assert (place / "weights" / "model").read_text() == "third"
    before = place.with_name("x.previous")
    assert read_record(before / "promotion.json", Promotion).run_id == "second"
    assert sorted(p.name for p in place.parent.iterdir()) == ["x", "x.previous"]


def test_names_from_data_stay_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    place = promoted_folder("../../etc", "/models/../x")
    assert place.parent == tmp_path / "promoted"
