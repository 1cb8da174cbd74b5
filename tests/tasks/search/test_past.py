"""What the history has of this very data on the proxies of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ConfigSpace as cs
import pandas as pd
import pytest

from tasks.config.paths import DATA
from tasks.history.rows import append_history, history_row
from tasks.inputs.prepare import Inputs
from tasks.search.past import past_on_proxies, past_text
from tests.trials.helpers import write_dataset
from trials.data.dataset import load_dataset
from trials.spec.kinds import TrialState
from trials.spec.records import (
    Cost,
    Failure,
    Fidelity,
    ProbeAnswer,
    Schedule,
    TrialResult,
    TrialSpec,
)

STEPS = 40


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(
        dataset_id="sums",
        dataset=load_dataset(write_dataset(tmp_path_factory.mktemp("past") / "sums")),
        model_id="small",
        model=str(DATA / "models" / "tiny-100k"),
        model_fingerprint="f00d",
        schedule=Schedule(total_steps=STEPS),
        meta={},
        probe=ProbeAnswer.model_construct(parameters=100_000),
    )


def space() -> cs.ConfigurationSpace:
    found = cs.ConfigurationSpace(seed=0)
    found.add(
        cs.Float("sft_learning_rate", (1e-5, 0.2), log=True, default=1e-3),
        cs.Float("sft_share", (0.0, 1.0), default=0.5),
    )
    return found


def row(proxy: Inputs, number: int, **others: Any) -> dict[str, Any]:
    """One trial as the history keeps it."""
    failed = others.get("state") == TrialState.FAILED
    spec = TrialSpec(
        trial_id=f"{number:04d}",
        dataset=str(proxy.dataset.path),
        dataset_fingerprint=others.get("data", proxy.dataset.fingerprint),
        config=others.get("config", {"sft_learning_rate": 10.0**-number, "sft_share": 0.5}),
        fidelity=Fidelity(model=proxy.model, fraction=others.get("fraction", 1.0)),
        seed=0,
        folder="f",
        model_fingerprint=others.get("weights", proxy.model_fingerprint),
        schedule=Schedule(total_steps=others.get("steps", STEPS)),
    )
    result = TrialResult(
        trial_id=spec.trial_id,
        state=others.get("state", TrialState.COMPLETED),
        fraction=others.get("fraction", 1.0),
        score=None if failed else 0.1 * number,
        score_se=None if failed else 0.02,
        failure=Failure(kind="diverged", message="loss") if failed else None,
        cost=Cost(seconds=1.0, flops=1e9, tokens=100),
    )
    return history_row(
        spec, result, run_id="r", dataset_id="sums", model_id="another-name", meta={}
    )


def history(proxy: Inputs, folder: Path, *rows: dict[str, Any]) -> list[Path]:
    file = append_history(list(rows), folder, "r")
    assert file is not None
    return [file]


def test_only_what_the_proxy_would_repeat(proxy: Inputs, tmp_path: Path) -> None:
    files = history(
        proxy,
        tmp_path,
        row(proxy, 1),
        row(proxy, 2),
        row(proxy, 3, data="other data"),
        row(proxy, 4, weights="beef"),
        row(proxy, 5, steps=STEPS + 1),
        row(proxy, 6, fraction=0.5),
        row(proxy, 7, state=TrialState.FAILED),
    )
    found = past_on_proxies(files, [proxy], space())
    assert found is not None
    assert found["score"].tolist() == pytest.approx([0.1, 0.2])
    assert set(found["model_id"]) == {"small"}  # as it is called in this run
    assert past_text(found) == "known from the history: 2 trials on small, on this data"


def test_trials_of_another_space_are_left_out(proxy: Inputs, tmp_path: Path) -> None:
    rate = {"sft_learning_rate": 1e-3, "sft_share": 0.5}
    files = history(
        proxy,
        tmp_path,
        row(proxy, 1, config=rate),
        row(proxy, 2, config=rate | {"weight_decay": 0.0}),  # what a trial would do by itself
        row(proxy, 3, config=rate | {"weight_decay": 0.1}),
        row(proxy, 4, config=rate | {"dpo_share": 0.2}),
        row(proxy, 5, config=rate | {"sft_learning_rate": 0.9}),
        row(proxy, 6, config={"sft_learning_rate": 1e-3}),
    )
    found = past_on_proxies(files, [proxy], space())
    assert found is not None
    assert found["score"].tolist() == pytest.approx([0.1, 0.2])


def test_a_repeated_run_measured_nothing_new(proxy: Inputs, tmp_path: Path) -> None:
    twice = [row(proxy, 1), row(proxy, 1) | {"trial_id": "another/run"}, row(proxy, 2)]
    found = past_on_proxies(history(proxy, tmp_path, *twice), [proxy], space())
    assert found is not None
    assert found["score"].tolist() == pytest.approx([0.1, 0.2])


def test_rows_that_fail_the_checks_are_left_out(proxy: Inputs, tmp_path: Path) -> None:
    files = history(proxy, tmp_path, row(proxy, 1), row(proxy, 2) | {"score_se": -1.0})
    found = past_on_proxies(files, [proxy], space())
    assert found is not None
    assert found["score"].tolist() == pytest.approx([0.1])


def test_rows_of_an_import_may_leave_out_what_is_usual(proxy: Inputs, tmp_path: Path) -> None:
    rows = pd.DataFrame([row(proxy, 1), row(proxy, 2)])
    bare = tmp_path / "bare.parquet"
    rows.drop(columns=["seed", "state", "fraction"]).to_parquet(bare)
    found = past_on_proxies([bare], [proxy], space())
    assert found is not None
    assert found["score"].tolist() == pytest.approx([0.1, 0.2])


def test_nothing_is_known_without_rows_proxies_or_a_fingerprint(
    proxy: Inputs, tmp_path: Path
) -> None:
    files = history(proxy, tmp_path, row(proxy, 1, data="other data"))
    assert past_on_proxies(files, [proxy], space()) is None
    assert past_on_proxies([], [proxy], space()) is None
    assert past_on_proxies(files, [], space()) is None
    own = history(proxy, tmp_path / "own", row(proxy, 1))
    assert past_on_proxies(own, [replace(proxy, model_fingerprint=None)], space()) is None
    assert past_text(None) == ""
    bare = tmp_path / "bare.parquet"
    pd.DataFrame({"dataset_id": ["d"], "score": [0.5]}).to_parquet(bare)
    assert past_on_proxies([bare], [proxy], space()) is None
