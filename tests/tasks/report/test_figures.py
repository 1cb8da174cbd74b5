from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from surrogates.evaluation.importance import Importance, importance_of
from surrogates.space.axes import Axis, make_axis
from tasks.report import figures, figures_curves, figures_space
from tasks.runs.folder import ModelScores, RunFolder
from tasks.runs.tables import TRIAL_COLUMNS, RunTables

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def tables(make_run: MakeRun) -> RunTables:
    return RunTables.read(make_run())


def trials_of(configs: list[dict[str, Any]], scores: list[float]) -> pd.DataFrame:
    """Full-length trials with the given scores."""
    rows = [
        dict.fromkeys(TRIAL_COLUMNS, "")
        | {"trial_id": f"t{i}", "label": f"t{i}", "config": config, "final": score, "score": score}
        for i, (config, score) in enumerate(zip(configs, scores, strict=True))
    ]
    return pd.DataFrame(rows)


def test_progress_follows_the_best_full_length_score(tables: RunTables) -> None:
    figure = figures.progress(tables.trials, base=0.02, default=0.64)
    traces = {trace.name: trace for trace in figure.data}
    full = tables.trials[tables.trials.full_length]
    best = full.score.cummax().tolist()
    assert list(traces["best so far"].y) == [*best, best[-1]]
    assert traces["best so far"].x[:-1] == tuple(full.cumulative_seconds)
    assert list(traces["default"].y) == [0.64, 0.64]
    assert list(traces["base model"].y) == [0.02, 0.02]
    assert {k: len(traces[k].x) for k in ("full length", "partial", "stopped", "failed")} == {
        "full length": 4,
        "partial": 6,
        "stopped": 1,
        "failed": 1,
    }


def test_progress_can_be_seen_against_the_number_of_trials(tables: RunTables) -> None:
    figure = figures.progress(tables.trials, base=0.02, default=None)
    by_time, by_trials = (button.args[0]["x"] for button in figure.layout.updatemenus[0].buttons)
    assert [tuple(x) for x in by_time] == [trace.x for trace in figure.data]
    places = {t.name: x for t, x in zip(figure.data, by_trials, strict=True)}
    assert places["failed"] == [5]
    assert places["full length"] == [1, 4, 7, 11]
    assert places["base model"] == [0, 12]


def test_comparison_draws_intervals_of_95_percent() -> None:
    scores = {"validation": 0.8, "validation_se": 0.03, "test": 0.7, "test_se": 0.02}
    figure = figures.comparison({"best": ModelScores(trial_id=None, config=None, **scores)})
    assert [trace.x[0] for trace in figure.data] == [0.7, 0.8]
    assert figure.data[0].error_x.array[0] == pytest.approx(1.96 * 0.02)
    assert figure.layout.yaxis.ticktext == ("best",)


def test_curves_have_one_line_a_trial_and_smooth_all_but_scores(tables: RunTables) -> None:
    score = figures_curves.curve(tables.curves, tables.trials, "score", "score", best="t010")
    loss = figures_curves.curve(tables.curves, tables.trials, "loss", "loss", "sft")
    lines = {trace.meta: trace for trace in score.data if trace.mode == "lines+markers"}
    # t001 is the beginning of t006, and the failed t004 has no curve.
    assert set(lines) == {f"t{index:03d}" for index in range(12)} - {"t001", "t004"}
    own = tables.curves[(tables.curves.trial_id == "t009") & (tables.curves.metric == "score")]
    assert lines["t009"].y == pytest.approx(own.value.tolist(), rel=1e-4)
    assert lines["t010"].line.width > lines["t009"].line.width
    assert lines["t000"].line.dash == "dash"
    raw = tables.curves[(tables.curves.trial_id == "t003") & (tables.curves.metric == "loss")]
    (drawn,) = (trace for trace in loss.data if trace.meta == "t003")
    assert drawn.y[9] == pytest.approx(raw.value.iloc[5:10].mean(), rel=1e-4)


def test_curves_mark_where_rl_begins(tables: RunTables) -> None:
    figure = figures_curves.curve(tables.curves, tables.trials, "score", "score")
    marks = {trace.meta: trace.x[0] for trace in figure.data if trace.mode == "markers"}
    assert marks["t000"] == 36.5  # the default gives 60 % of the 60 steps to SFT
    only = tables.curves[tables.curves.trial_id == "t000"]
    figure = figures_curves.curve(only, tables.trials, "score", "score")
    assert figure.layout.shapes[0].x0 == 36.5
    assert figure.layout.annotations[0].text == "RL begins"


def test_a_kl_that_explodes_gets_a_log_axis(tables: RunTables) -> None:
    kl = tables.curves.metric == "kl"
    calm = figures_curves.curve(tables.curves[kl], tables.trials, "kl", "KL", "rl")
    wild = tables.curves[kl].copy()
    wild.loc[wild.index[-1], "value"] = 1e6
    assert calm.layout.yaxis.type is None
    assert figures_curves.curve(wild, tables.trials, "kl", "KL", "rl").layout.yaxis.type == "log"


def test_colors_run_from_the_worst_to_the_best_score(tables: RunTables) -> None:
    colors, final = figures_curves.trial_colors(tables.trials), tables.trials.set_index("trial_id")
    assert colors[final.final.idxmin()] == figures.SCORE_SCALE[0][1]
    assert colors[final.final.idxmax()] == figures.SCORE_SCALE[-1][1]
    assert colors["t004"] == figures.GREY


def test_prior_is_compared_with_each_configuration_once(tables: RunTables) -> None:
    rows = figures.observed_with_prior(tables.trials)
    assert set(rows.trial_id) == {f"t{index:03d}" for index in range(12)} - {"t001", "t004"}
    full, partial = figures.prior_against_observed(rows).data
    assert len(full.x) == 4
    assert len(partial.x) == 6
    assert list(partial.y) == rows[~rows.full_length].predicted.tolist()
    assert list(full.error_y.array) == pytest.approx([0.035] * 4)


def test_a_failed_continuation_does_not_hide_its_beginning(tables: RunTables) -> None:
    trials = tables.trials.copy()
    trials.loc[trials.trial_id == "t006", ["score", "final"]] = math.nan
    assert figures.continued_trials(tables.trials) == {"t001"}
    assert figures.continued_trials(trials) == set()


def test_cost_and_fractions_show_what_was_spent(tables: RunTables) -> None:
    assert list(figures.cost(760, 1220).data[0].x) == [760, 1220]
    bars = {trace.name: trace for trace in figures.fractions(tables.trials).data}
    assert bars["stopped"].x[0] == "t007"
    assert bars["stopped"].y[0] == 0.4
    assert set(bars["full length"].y) == {1.0}
    assert sum(len(bar.x) for bar in bars.values()) == 12


def test_hover_text_is_escaped(tables: RunTables) -> None:
    trials = tables.trials.copy()
    trials["reason"] = "<a href='x'>"
    trace = figures.fractions(trials).data[0]
    assert "<a" not in trace.text[0]
    assert "&lt;a" in trace.text[0]
    assert figures.hover_config({"a<b": "<i>", "off": None}) == "a&lt;b = &lt;i&gt;"


def test_parallel_coordinates_place_values_on_readable_axes() -> None:
    parts = [
        UniformFloatHyperparameter("rate", 1e-4, 1e-1, log=True),
        UniformIntegerHyperparameter("layers", 1, 5),
        OrdinalHyperparameter("batch", [8, 16, 32]),
        CategoricalHyperparameter("kind", ["full", "lora"]),
    ]
    configs: list[dict[str, Any]] = [
        {"rate": 1e-3, "layers": 2, "batch": 32, "kind": "lora"},
        {"rate": 1e-2, "layers": 5, "batch": None, "kind": "full"},
    ]
    axes = {part.name: make_axis(part) for part in parts}
    figure = figures_space.parallel_coordinates(trials_of(configs, [0.2, 0.6]), axes)
    score, rate, layers, batch, kind = figure.data[0].dimensions
    assert list(score["values"]) == [0.2, 0.6]
    assert list(rate["values"]) == [-3, -2]
    assert rate["ticktext"] == ("0.0001", "0.001", "0.01", "0.1")
    assert list(rate["tickvals"]) == [-4, -3, -2, -1]
    assert list(layers["values"]) == [2, 5]
    assert layers["ticktext"] == ("1", "2", "3", "4", "5")
    assert batch["ticktext"] == ("not set", "8", "16", "32")
    assert list(batch["values"]) == [2, pytest.approx(-0.3)]
    assert batch["range"][0] == pytest.approx(-0.3)
    assert list(kind["values"]) == [1, 0]
    assert list(figure.data[0].line.color) == [0.2, 0.6]


def random_trials(n: int, noise: float) -> tuple[pd.DataFrame, dict[str, Any]]:
    generator = np.random.default_rng(0)
    configs = [
        {"rate": float(x), "idle": float(z), "kind": str(k) if z > 0.2 else None}
        for x, z, k in zip(
            generator.random(n), generator.random(n), generator.choice(["a", "b"], n), strict=True
        )
    ]
    scores = [(1 - noise) * c["rate"] + noise * generator.random() for c in configs]
    parts = [UniformFloatHyperparameter(name, 0, 1) for name in ("rate", "idle")]
    axes = {part.name: make_axis(part) for part in parts}
    axes["kind"] = make_axis(CategoricalHyperparameter("kind", ["a", "b"]))
    return trials_of(configs, scores), axes


def ranked(trials: pd.DataFrame, axes: dict[str, Axis], seed: int = 0) -> Importance | None:
    return importance_of(list(trials.config), trials.final, axes, seed)


def test_importance_finds_what_decides() -> None:
    ranking = ranked(*random_trials(24, noise=0.0))
    assert ranking is not None
    assert ranking.table.name.iloc[0] == "rate"
    assert ranking.table.importance.iloc[0] > 5 * ranking.table.importance.iloc[1]
    assert ranking.trusted
    figure = figures_space.importance(ranking)
    assert list(figure.data[0].y) == ranking.table.name.tolist()
    assert figure.data[0].marker.color == figures.BLUE


def test_importance_of_noise_is_not_to_be_trusted() -> None:
    ranking = ranked(*random_trials(12, noise=1.0))
    assert ranking is not None
    assert not ranking.trusted
    assert figures_space.importance(ranking).data[0].marker.color == figures.GREY


def test_importance_needs_enough_trials_and_different_scores() -> None:
    trials, axes = random_trials(24, noise=0.0)
    assert ranked(trials.head(7), axes) is None
    assert ranked(trials.assign(final=0.5), axes) is None
    assert ranked(trials, {}) is None
    again = [ranked(trials, axes, 4) for _ in range(2)]
    assert again[0] is not None
    assert again[1] is not None
    pd.testing.assert_frame_equal(again[0].table, again[1].table)


def test_importance_survives_a_hyperparameter_that_hardly_varies() -> None:
    configs = [{"kind": "a" if i else "b"} for i in range(10)]
    axes = {"kind": make_axis(CategoricalHyperparameter("kind", ["a", "b"]))}
    scores = [0.1 * i for i in range(10)]
    assert ranked(trials_of(configs, scores), axes) is not None
