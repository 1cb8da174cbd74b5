"""A winner takes its place only when it is better beyond noise: real models, real measurements."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from prefect import flow

from tasks.config.paths import DATA
from tasks.delivery.promotion import (
    Decision,
    Promotion,
    _rows_to_compare_on,
    challenge,
    install,
    promoted_folder,
    read_incumbent,
)
from tasks.execution.devices import launchers_for
from tasks.runs.folder import RunFolder
from tests.tasks.conftest import MakeRun
from trials.data.dataset import fingerprint
from trials.io.errors import SettingsError
from trials.process.supervisor import Supervisor
from trials.spec.records import Fidelity, read_record, write_json

VALIDATION = 100
TINY = DATA / "models" / "tiny-100k"


@pytest.fixture
def run(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run whose winner has the weights of its base model: equally good."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    rng = random.Random(0)
    for split, count in (("train", 40), ("validation", VALIDATION), ("test", 12)):
        rows = []
        for _ in range(count):
            a, b = rng.randrange(10_000), rng.randrange(10_000)
            rows.append({"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / f"{split}.jsonl").write_text(text)
    run = make_run()
    info = run.info()
    rows = {"train": 40, "validation": VALIDATION, "test": 12}
    known = {"path": str(data), "fingerprint": fingerprint(data), "rows": rows}
    run.write_info(info.model_copy(update={"dataset": info.dataset.model_copy(update=known)}))
    winner = next(t for t in run.trials() if t.spec.trial_id == run.summary().best.trial_id)
    spec = winner.spec.model_copy(
        update={
            "dataset": str(data),
            "fidelity": Fidelity(model=str(TINY), fraction=1.0),
            "schedule": winner.spec.schedule.model_copy(update={"eval_rows": 30}),
        }
    )
    write_json(winner.folder / "spec.json", spec)
    shutil.copytree(TINY, winner.folder / "checkpoint" / "final")
    return run


def decide(run: RunFolder) -> Decision:
    @flow
    def one() -> Decision:
        with Supervisor(launchers_for(1, 1)) as measurer:
            return challenge(run, 1000, measurer)

    return one()


@pytest.mark.slow
def test_an_equal_one_is_not_promoted(prefect_harness, run: RunFolder) -> None:
    decision = decide(run)
    assert not decision.promoted
    assert decision.against == "the base model"
    assert decision.gain == 0
    assert (decision.rows, decision.split) == (VALIDATION - 30, "validation")
    assert read_incumbent(promoted_folder("add", "tiny-m")) is None


# review fault 15
@pytest.mark.parametrize(
    ("rows", "chosen_on", "split", "beyond"),
    [
        (200, (128,), "validation", (128,)),
        (200, (40, 128), "validation", (40, 128)),
        (170, (128,), "test", ()),  # 42 are left, too few
        (64, (128,), "test", ()),
    ],
)
def test_nothing_is_compared_on_the_rows_that_chose_it(
    run: RunFolder, rows: int, chosen_on: tuple[int, ...], split: str, beyond: tuple[int, ...]
) -> None:
    info = run.info()
    counted = info.dataset.model_copy(update={"rows": info.dataset.rows | {"validation": rows}})
    assert _rows_to_compare_on(info.model_copy(update={"dataset": counted}), chosen_on) == (
        split,
        beyond,
    )


# review fault 15
def test_a_winner_is_not_measured_on_data_that_changed(prefect_harness, run: RunFolder) -> None:
    file = Path(run.info().dataset.path) / "train.jsonl"
    file.write_text(file.read_text().replace("+", "-"))
    with pytest.raises(SettingsError, match=r"changed since run .*fingerprint"):
        decide(run)


# review fault 15
@pytest.mark.slow
def test_an_incumbent_of_other_data_is_told_as_one(prefect_harness, run: RunFolder) -> None:
    place = promoted_folder(run.info().dataset.name, run.info().model)
    install(place, promotion("old"), TINY, run.path / "best")
    decision = decide(run)
    assert decision.against == "the incumbent, of run old"
    assert decision.data_changed
    assert "the data changed since" in str(decision)


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
    assert read_incumbent(place).run_id == "third"
    assert (place / "weights" / "model").read_text() == "third"
    before = place.with_name("x.previous")
    assert read_record(before / "promotion.json", Promotion).run_id == "second"
    assert sorted(p.name for p in place.parent.iterdir()) == ["x", "x.previous"]


def test_names_from_data_stay_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    place = promoted_folder("../../etc", "/models/../x")
    assert place.parent == tmp_path / "promoted"
