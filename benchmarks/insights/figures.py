"""Figures of the study: importance, marginal effects, pairs, rules of thumb, agreement.

Tables are those of ``benchmarks.insights.steps``; error bars are standard errors over datasets
unless the title says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.insights.landscape import SHARED
from benchmarks.insights.marginals import compact
from benchmarks.insights.rules import Verdict
from benchmarks.insights.steps import REFERENCE
from benchmarks.pictures import titled
from tasks.report.figures import BLUE, GREEN, GREY, ORANGE, RED, SKY

STAGE_COLOURS = {"sft": BLUE, "rl": ORANGE, "dpo": GREEN, SHARED: GREY}
STAGE_NAMES = {"sft": "SFT", "rl": "RL", "dpo": "DPO", SHARED: "all stages"}
VERDICTS: dict[Verdict, tuple[str, str]] = {
    "holds": (BLUE, "circle"),
    "weaker": (SKY, "triangle-left"),
    "open": (GREY, "circle-open"),
    "fails": (RED, "x"),
}
UNITS = {
    "sd": "difference, standard deviations of a dataset's scores",
    "sd per decade": "difference of slopes, standard deviations per factor of ten",
    "decades": "ratio, log10",
    "share of variance": "difference, share of a dataset's variance",
}
# Worse than the dataset's mean, the mean, better: told apart without red and green.
DIVERGING = [(0.0, "#D55E00"), (0.5, "#FFFFFF"), (1.0, "#1F83D1")]
TICK = {"symbol": "line-ns-open", "size": 13, "color": "black", "line_width": 2}


def all_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, go.Figure]:
    """Every figure for which the tables have data, by the name of its file."""
    figures = {
        "importance": importance_figure(tables["importance"]),
        "marginals": marginal_figure(tables["marginals"], tables["importance"]),
        "rules": rules_figure(tables["rules"]),
        "pairs": pair_figure(tables["pairs"], tables["interactions"]),
        "agreement": agreement_figure(tables["agreement_by_dataset"], tables["retest"]),
    }
    return {f"insights-{name}": figure for name, figure in figures.items() if figure is not None}


def importance_figure(table: pd.DataFrame) -> go.Figure:
    """Two panels, one bar per hyperparameter: shared effect with its null, and own effect."""
    titles = ["the same way in every dataset", "within a dataset, whichever way there"]
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles
    )
    for stage, part in table.groupby("stage", sort=False):
        for column, name in enumerate(("main", "own"), start=1):
            figure.add_bar(
                x=100 * part[name],
                y=part["hyperparameter"],
                orientation="h",
                error_x={"array": 100 * part[f"{name}_se"], "thickness": 1, "width": 2},
                marker_color=STAGE_COLOURS[str(stage)],
                name=STAGE_NAMES[str(stage)],
                row=1,
                col=column,
            )
    figure.add_scatter(
        x=100 * table["null95"],
        y=table["hyperparameter"],
        mode="markers",
        marker=TICK,
        name="95 % of shuffled scores stay below",
        row=1,
        col=1,
    )
    figure.update_yaxes(categoryorder="array", categoryarray=table["hyperparameter"][::-1])
    figure.update_xaxes(title="share of the score's variance, %", zeroline=True, zerolinecolor=GREY)
    title = "Which hyperparameters decide the score: share of its variance ± standard error"
    return titled(figure, 110 + 26 * len(table), title)


def marginal_figure(table: pd.DataFrame, order: pd.DataFrame, columns: int = 4) -> go.Figure:
    """One small panel per hyperparameter, the most important first: mean score by value."""
    names = [n for n in order["hyperparameter"] if n in set(table["hyperparameter"])]
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes="all", subplot_titles=names,
        vertical_spacing=0.3 / rows, horizontal_spacing=0.02,
    )  # fmt: skip
    for number, name in enumerate(names):
        part = table[table["hyperparameter"] == name]
        centres = part["centre"].astype(float)
        figure.add_scatter(
            x=[
                compact(centre) if math.isfinite(centre) else str(label)
                for centre, label in zip(centres, part["bin"], strict=True)
            ],
            y=part["effect"],
            error_y={"array": part["effect_se"], "thickness": 1, "width": 3},
            mode="markers" if centres.isna().all() else "lines+markers",
            marker_color=STAGE_COLOURS[str(part["stage"].iloc[0])],
            showlegend=False,
            row=number // columns + 1,
            col=number % columns + 1,
        )
    figure.update_xaxes(type="category", tickfont_size=11, tickangle=0)
    figure.update_yaxes(zeroline=True, zerolinecolor=GREY, tickfont_size=11)
    figure.update_annotations(font_size=13)
    title = "Mean score by value ± standard error, in standard deviations of a dataset's scores"
    return titled(figure, 90 + 165 * rows, title, margin={"l": 60, "r": 20, "t": 70, "b": 40})


def pair_figure(cells: pd.DataFrame, pairs: pd.DataFrame) -> go.Figure | None:
    """A heat map for each of the strongest pairs."""
    if cells.empty:
        return None
    by_pair = cells.groupby(["first", "second"], sort=False)
    known = pairs.set_index(["first", "second"])
    titles = []
    for pair in by_pair.groups:
        found = known.loc[pair]
        beyond = "above" if found["share"] > found["null95_largest"] else "within"
        titles.append(f"{100 * found['share']:.2g} % of the variance, {beyond} chance")
    rows = math.ceil(len(titles) / 2)
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=titles,
        vertical_spacing=0.3 / rows, horizontal_spacing=0.16,
    )  # fmt: skip
    for number, ((first, second), part) in enumerate(by_pair):
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        texts = [
            f"{effect:+.2f} ± {se:.2f}".replace("-", "−")
            for effect, se in zip(part["effect"], part["effect_se"], strict=True)
        ]
        figure.add_heatmap(
            x=part["second_bin"],
            y=part["first_bin"],
            z=part["effect"],
            text=texts,
            texttemplate="%{text}",
            textfont={"size": 11, "color": "black"},
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            **place,
        )
        looks = {"type": "category", "tickfont_size": 11}
        figure.update_xaxes(title=second, tickangle=0, **looks, **place)
        figure.update_yaxes(title=first, **looks, **place)
    figure.update_annotations(font_size=13)
    limit = float(np.nanmax(np.abs(cells["effect"])))
    scale = {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "showscale": False}
    title = "Pairs that act together most: mean score ± standard error, in standard deviations"
    return titled(
        figure, 90 + 300 * rows, title, coloraxis=scale, margin={"l": 60, "r": 20, "t": 80, "b": 50}
    )


def rules_figure(table: pd.DataFrame) -> go.Figure:
    """One row per rule, one panel per unit: 95 % interval, and the range that the rule claims."""
    units = [unit for unit in UNITS if unit in set(table["unit"])]
    sizes = [int((table["unit"] == unit).sum()) for unit in units]
    figure = make_subplots(
        rows=len(units), cols=1, row_heights=[size + 1.2 for size in sizes],
        vertical_spacing=0.28 / max(len(units), 1) + 0.01,
    )  # fmt: skip
    for row, unit in enumerate(units, start=1):
        part, place = table[table["unit"] == unit], {"row": row, "col": 1}
        ends = part[["low", "high", "nothing", "expected_low", "expected_high"]].to_numpy(float)
        ends = ends[np.isfinite(ends)]
        pad = 0.08 * float(np.ptp(ends)) or 0.1
        left, right = float(ends.min()) - pad, float(ends.max()) + pad
        claimed = np.maximum(part["expected_low"], left)
        figure.add_bar(
            y=part["rule"],
            base=claimed,
            x=np.minimum(part["expected_high"], right) - claimed,
            orientation="h",
            marker={"color": "#DCEBF7", "line_width": 0},
            width=0.8,
            name="where the rule says",
            **place,
        )
        for verdict, (colour, symbol) in VERDICTS.items():
            own = part[part["verdict"] == verdict]
            if own.empty:
                continue
            above, below = own["high"] - own["estimate"], own["estimate"] - own["low"]
            figure.add_scatter(
                x=own["estimate"],
                y=own["rule"],
                mode="markers",
                error_x={"array": above, "arrayminus": below, "thickness": 1.5},
                marker={"color": colour, "symbol": symbol, "size": 10},
                name=verdict,
                legendgroup=verdict,
                **place,
            )
        figure.add_scatter(
            x=part["nothing"],
            y=part["rule"],
            mode="markers",
            marker=TICK,
            name="if scores were independent of settings",
            **place,
        )
        figure.update_xaxes(title=UNITS[unit], range=[left, right], **place)
        figure.update_yaxes(categoryorder="array", categoryarray=list(part["rule"])[::-1], **place)
    height = 150 + 26 * len(table) + 80 * len(units)
    return titled(figure, height, "Rules of thumb: means over datasets and their 95 % intervals")


def agreement_figure(by_dataset: pd.DataFrame, again: pd.DataFrame) -> go.Figure | None:
    """Rank correlations of every pair of models and of repeats, a dot per dataset."""
    parts = [
        by_dataset.assign(pair=by_dataset["proxy"] + "<br>for " + by_dataset["target"]),
        again.assign(pair=again["model"] + "<br>with other seeds"),
    ]
    table = pd.concat([p[["pair", *REFERENCE]] for p in parts if len(p)] or [pd.DataFrame()])
    if table.empty:
        return None
    titles = [
        f"{n.title()} (dashed: JF-HPO's proxy, {level:.2f})" for n, level in REFERENCE.items()
    ]
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles
    )
    pairs = list(dict.fromkeys(table["pair"]))
    for column, (metric, reference) in enumerate(REFERENCE.items(), start=1):
        place, spread = {"row": 1, "col": column}, np.random.default_rng(0)
        for position, pair in enumerate(pairs):
            values = table.loc[table["pair"] == pair, metric].to_numpy(float)
            se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
            figure.add_scatter(
                x=position + spread.uniform(-0.25, 0.05, len(values)),
                y=values,
                mode="markers",
                marker={"size": 7, "opacity": 0.6, "color": GREY},
                name="a dataset",
                **place,
            )
            repeats = pair.endswith("seeds")
            colour, symbol = (ORANGE, "square") if repeats else (BLUE, "circle")
            figure.add_scatter(
                x=[position + 0.22],
                y=[values.mean()],
                error_y={"array": [se], "thickness": 2, "width": 5},
                mode="markers",
                marker={"size": 11, "color": colour, "symbol": symbol},
                name="repeats: mean ± standard error" if repeats else "mean ± standard error",
                **place,
            )
        figure.add_hline(y=reference, line={"dash": "dash", "color": RED}, **place)
    figure.update_xaxes(
        tickvals=list(range(len(pairs))), ticktext=pairs, range=[-0.5, len(pairs) - 0.5]
    )
    low = min(0.0, float(table[list(REFERENCE)].to_numpy().min()) - 0.05)
    figure.update_yaxes(range=[low, 1.05], zeroline=True, zerolinecolor=GREY)
    return titled(figure, 470, "How well a model's scores order the configurations of another")
