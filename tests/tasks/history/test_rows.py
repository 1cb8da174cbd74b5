"""History rows: flat, complete, and able to give back every prefix of a trial."""

import json
import math
import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import Budget, TuneSettings
from tasks.history.curves import pack_curve, unpack_curve
from tasks.history.prefixes import stage_plan
from tasks.history.rows import (
    RUN_KEY,
    append_history,
    history_files,
    history_row,
    read_history,
    run_key,
    search_history,
)
from tasks.translation.cells import is_field
from trials.io.errors import SettingsError
from trials.spec.plan import StagePlan
from trials.spec.records import (
    Cost,
    CurvePoint,
    Failure,
    Fidelity,
    Schedule,
    Spent,
    TrialResult,
    TrialSpec,
)

points = st.builds(
    CurvePoint,
    stage=st.sampled_from(["sft", "dpo", "rl"]),
    step=st.integers(1, 500),
    metric=st.sampled_from(["loss", "reward", "score"]),
    value=st.floats(-1e6, 1e6),
)


@given(st.lists(points, max_size=40))
def test_packed_curves_keep_every_point_to_five_digits(curve):
    unpacked = unpack_curve(pack_curve(curve))
    found = sorted(
        (*name, step, value)
        for name, series in unpacked.items()
        for step, value in zip(*series, strict=True)
    )
    wanted = sorted((p.stage, p.metric, p.step, float(f"{p.value:.5g}")) for p in curve)
    assert found == wanted


def trial(number, state="completed", fraction=1.0, continue_from=None):
    spec = TrialSpec(
        trial_id=f"{number:03d}",
        dataset="d",
        dataset_fingerprint="f" * 16,
        config={"sft_share": 0.5, "sft_learning_rate": 1e-3 * (number + 1), "adapter": "full"},
        fidelity=Fidelity(model="m", fraction=fraction),
        folder="x",
        continue_from=continue_from,
        schedule=Schedule(total_steps=100),
    )
    curve = [
        CurvePoint(stage="sft", step=step, metric="loss", value=3.0 / step) for step in range(1, 51)
    ]
    curve += [
        CurvePoint(stage="sft" if step <= 50 else "rl", step=step, metric="score", value=step / 200)
        for step in (10, 20, 30, 50, 100)
    ]
    failed = state == "failed"
    result = TrialResult(
        trial_id=spec.trial_id,
        state=state,
        fraction=fraction,
        score=None if failed else 0.5,
        score_se=None if failed else 0.03,
        curve=[] if failed else curve,
        signals={"score": 0.5},
        cost=Cost(seconds=20.0, flops=1e12, tokens=1000),
        failure=Failure(kind="diverged", message="NaN") if failed else None,
    )
    return spec, result


def row(number, **kwargs):
    return history_row(
        *trial(number, **kwargs), run_id="r", dataset_id="d", model_id="m", meta={"rows": 3.0}
    )


def test_rows_are_flat_and_hold_config_meta_signals_and_cost(tmp_path):
    file = append_history([row(0), row(1, state="failed")], tmp_path, "r")
    frame = read_history([file])
    assert [each.rsplit("-", 1)[0] for each in frame["trial_id"]] == ["r/d/000", "r/d/001"]
    assert {"config.sft_share", "meta.rows", "signal.score", "cost_flops", "curve"} <= set(frame)
    assert frame["failure_kind"].tolist()[1] == "diverged"
    assert all(not isinstance(value, dict | list) for value in frame.iloc[0])


def test_the_search_sees_full_trials_failures_and_prefixes_only():
    rows = pd.DataFrame(
        [
            row(0),
            row(1, state="failed"),
            row(2, state="stopped", fraction=0.4),
            row(3, continue_from="elsewhere/checkpoint/step-000030"),
            row(4, fraction=0.3),
        ]
    )
    frame = search_history(rows)
    full = frame[(frame["fraction"] == 1.0) & (frame["state"] == "completed")]
    wanted = [rows["trial_id"][0], rows["trial_id"][3]]
    assert full["trial_id"].tolist() == wanted
    # What a continued trial cost is not in its own row.
    assert full["cost_seconds"].isna().tolist() == [False, True]
    prefixes = frame[(frame["fraction"] < 1) & (frame["state"] == "completed")]
    assert prefixes["fraction"].tolist() == [0.1, 0.2, 0.3, 0.5] * 2
    assert prefixes["score"].tolist() == [0.05, 0.1, 0.15, 0.25] * 2
    assert set(prefixes["trial_id"]) == set(wanted)
    assert prefixes["signal.sft_progress"].tolist() == [0.2, 0.4, 0.6, 1.0] * 2
    assert (frame["state"] == "failed").sum() == 1


def test_a_prefix_costs_what_the_trial_had_spent_there():
    spec, result = trial(0)
    timeline = [
        Spent(step=10, seconds=1.0, flops=1e10),
        Spent(step=50, seconds=4.0, flops=3e11),
        Spent(step=100, seconds=20.0, flops=1e12),
    ]
    cost = result.cost.model_copy(update={"timeline": timeline})
    result = result.model_copy(update={"cost": cost})
    ids = {"run_id": "r", "dataset_id": "d", "model_id": "m", "meta": {}}
    frame = search_history(pd.DataFrame([history_row(spec, result, **ids)]))
    prefixes = frame[frame["fraction"] < 1].set_index("fraction")
    # At 0.2 and 0.3 nothing is known but the share of steps.
    assert prefixes["cost_seconds"].tolist() == pytest.approx([1.0, 4.0, 6.0, 4.0])
    assert prefixes["cost_flops"].tolist() == pytest.approx([1e10, 2e11, 3e11, 3e11])
    continued = spec.model_copy(update={"continue_from": "elsewhere/checkpoint/step-000030"})
    assert history_row(continued, result, **ids)["timeline"] == ""


def test_a_table_with_only_the_required_columns_is_accepted():
    rows = pd.DataFrame({"dataset_id": ["a", "b"], "config.lr": [1e-3, 1e-4], "score": [0.1, 0.2]})
    frame = search_history(rows)
    assert frame["score"].tolist() == [0.1, 0.2]
    assert frame["fraction"].tolist() == [1.0, 1.0]
    mixed = search_history(pd.concat([rows, pd.DataFrame([row(0)])], ignore_index=True))
    assert len(mixed) == 3 + 4


def staged(config, sft, dpo, rl):
    """Row of a trial whose stages end at these steps."""
    plan = StagePlan(sft, dpo, rl)
    spec, result = trial(0)
    curve = [
        CurvePoint(stage=stage, step=step, metric="loss", value=1.0)
        for stage in plan.stages
        for step in range(plan.start(stage) + 1, plan.end(stage) + 1)
    ]
    scored = [round(fraction * plan.total) for fraction in (0.1, 0.2, 0.3, 0.5, 1.0)]
    scored = [plan.last_step(step / plan.total) for step in scored]
    curve += [
        CurvePoint(
            stage=next(s for s in plan.stages if step <= plan.end(s)),
            step=step,
            metric="score",
            value=step / 1000,
        )
        for step in scored
    ]
    spec = spec.model_copy(update={"config": config})
    result = result.model_copy(update={"curve": curve})
    return history_row(spec, result, run_id="r", dataset_id="d", model_id="m", meta={})


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        *[(kind, True) for kind in ("diverged", "out_of_memory", "bad_config", None, math.nan)],
        *[(kind, False) for kind in ("killed", "hung", "crashed", "error", "timed_out")],
        *[(kind, False) for kind in ("disk_full", "reward_failed", "bad_data")],
    ],
)
def test_only_failures_that_the_configuration_brought_about_are_learned_from(kind, kept):
    failed = row(1) | {"state": "failed", "score": None, "failure_kind": kind}
    frame = search_history(pd.DataFrame([row(0), failed]))
    assert (frame["state"] == "failed").sum() == kept
    old = search_history(pd.DataFrame([row(0), failed]).drop(columns="failure_kind"))
    assert (old["state"] == "failed").sum() == 1


@pytest.mark.parametrize(
    ("config", "stages"),
    [
        ({"sft_share": 0.6}, (60, 0, 40)),
        ({"sft_share": 0.0}, (0, 0, 100)),
        ({"sft_share": 0.6, "sft_epochs": None, "dpo_share": 0.0}, (60, 0, 40)),
        ({}, (60, 0, 40)),
        ({"sft_epochs": 2.0}, (83, 0, 17)),
        ({"sft_share": 0.5, "rl_steps": 200}, (50, 0, 200)),
        ({"sft_share": 0.4, "dpo_share": 0.2}, (40, 20, 40)),
        ({"sft_steps": 0, "dpo_steps": 30}, (0, 30, 70)),
        ({"sft_steps": 150, "rl_steps": 0}, (150, 0, 0)),
        ({"sft_share": 0.0, "dpo_share": 1.0}, (0, 100, 0)),
    ],
)
def test_the_stages_of_a_trial_are_found_in_its_row(config, stages):
    row = staged(config, *stages)
    found = stage_plan(row, unpack_curve(row["curve"]))
    assert (found.sft, found.dpo, found.rl) == stages
    frame = search_history(pd.DataFrame([row]))
    prefixes = frame[frame["fraction"] < 1]
    assert prefixes["fraction"].tolist() == [0.1, 0.2, 0.3, 0.5]
    total = sum(stages)
    assert prefixes["score"].tolist() == [round(f * total) / 1000 for f in (0.1, 0.2, 0.3, 0.5)]
    ran = [
        row["signal.sft_progress"] * stages[0] + row["signal.rl_progress"] * stages[2]
        for row in prefixes.to_dict("records")
    ]
    if not stages[1]:
        assert ran == pytest.approx([round(f * total) for f in (0.1, 0.2, 0.3, 0.5)])
    assert ("signal.dpo_progress" in prefixes) == (stages[1] > 0)


def test_a_prefix_that_ends_at_a_later_boundary_is_found():
    config = {"sft_share": 0.0, "rl_num_iterations": 2, "rl_updates_per_generation": 3}
    spec, result = trial(0)
    curve = [
        CurvePoint(stage="rl", step=step, metric="score", value=step) for step in (12, 54, 100)
    ]
    row = history_row(
        spec.model_copy(update={"config": config}),
        result.model_copy(update={"curve": curve}),
        run_id="r",
        dataset_id="d",
        model_id="m",
        meta={},
    )
    frame = search_history(pd.DataFrame([row]))
    assert frame["score"].tolist()[1:] == [12.0, 54.0]
    assert frame["fraction"].tolist()[1:] == [0.1, 0.5]


def test_a_run_written_again_replaces_its_own_file_only(tmp_path):
    append_history([row(0)], tmp_path, "a")
    append_history([row(0)], tmp_path, "b")
    append_history([row(0), row(1)], tmp_path, "b")
    assert [file.name for file in history_files(tmp_path)] == ["a.parquet", "b.parquet"]
    assert len(read_history(history_files(tmp_path))) == 3


@pytest.mark.parametrize("links", [True, False])
def test_another_run_of_the_same_name_is_not_taken_for_the_first(tmp_path, monkeypatch, links):
    if not links:  # as on some network shares

        def refuse(*_args):
            raise PermissionError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    spec, result = trial(0)
    ids = {"run_id": "r", "dataset_id": "d", "model_id": "m", "meta": {}}
    other = spec.model_copy(update={"model_fingerprint": "another model"})
    for each in (spec, other, spec):
        append_history([history_row(each, result, **ids)], tmp_path, "r")
    assert [file.name for file in history_files(tmp_path)] == ["r.2.parquet", "r.parquet"]
    rows = read_history(history_files(tmp_path))
    assert rows["trial_id"].is_unique
    assert set(rows["model_fingerprint"]) == {None, "another model"}


def test_a_repeated_run_does_not_learn_from_the_run_it_repeats(tmp_path):
    settings = TuneSettings(dataset="d", model="m", seed=1)
    key = run_key(settings, "f")
    assert key != run_key(settings.model_copy(update={"seed": 2}), "f")
    elsewhere = {"trials_on": "workers", "store": "s3://bucket/runs"}
    assert key == run_key(settings.model_copy(update=elsewhere), "f")
    append_history([row(0) | {RUN_KEY: key}], tmp_path, "first")
    append_history([row(0) | {RUN_KEY: "0123"}], tmp_path, f"other.{key}")  # a name means nothing
    append_history([row(0)], tmp_path, "older")
    (tmp_path / "zbroken.parquet").write_text("no parquet")
    names = [file.name for file in history_files(tmp_path, key)]
    assert names == ["older.parquet", f"other.{key}.parquet", "zbroken.parquet"]


# review fault 13
def test_a_run_that_goes_on_with_another_budget_is_the_same_run(tmp_path):
    settings = TuneSettings(dataset="d", model="m", seed=1)
    more = settings.model_copy(update={"budget": Budget(amount=20, unit="full")})
    assert run_key(more, "f") == run_key(settings, "f")


# review fault 18
def test_a_file_named_by_its_key_is_replaced_by_the_run_that_goes_on(tmp_path):
    """Files of old runs bear the key in their name; their rows must not come twice."""
    append_history([row(0)], tmp_path, "r.0123456789ab")
    append_history([row(0), row(1)], tmp_path, "r")
    assert [file.name for file in history_files(tmp_path)] == ["r.0123456789ab.parquet"]
    assert len(read_history(history_files(tmp_path))) == 2


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(SettingsError, match=r"x\.parquet cannot be read"):
        read_history(history_files(tmp_path))
    assert json.loads(row(0)["versions"]) == {}


def test_every_column_that_is_written_can_be_imported_again():
    assert [name for name in [*row(0), RUN_KEY] if not is_field(name)] == []
