"""Figures of what was put to the test: rules of thumb, and small models as proxies of large ones.

Tables are those of ``benchmarks.insights.steps``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.insights.pictures import titled
from benchmarks.insights.steps import REFERENCE
from tasks.report.figures import BLUE, GREY, ORANGE, RED, SKY

VERDICTS = {
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


def rules_figure(table: pd.DataFrame) -> go.Figure:
    """One row a rule, one panel a unit: 95 % interval, and the range that the rule claims."""
    units = [unit for unit in UNITS if unit in set(table["unit"])]
    sizes = [int((table["unit"] == unit).sum()) for unit in units]
    figure = make_subplots(
        rows=len(units), cols=1, row_heights=[size + 1.2 for size in sizes],
        vertical_spacing=0.28 / max(len(units), 1) + 0.01,
    )  # fmt: skip
    for row, unit in enumerate(units, start=1):
        part = table[table["unit"] == unit]
        ends = pd.concat([part["low"], part["high"], part["nothing"]]).to_numpy(float)
        edges = part[["expected_low", "expected_high"]].to_numpy(float)
        ends = np.append(ends, edges[np.isfinite(edges)])
        ends = ends[np.isfinite(ends)]
        pad = 0.08 * float(np.ptp(ends)) or 0.1
        left, right = float(ends.min()) - pad, float(ends.max()) + pad
        figure.add_bar(
            y=part["rule"],
            base=np.maximum(part["expected_low"], left),
            x=np.minimum(part["expected_high"], right) - np.maximum(part["expected_low"], left),
            orientation="h",
            marker={"color": "#DCEBF7", "line_width": 0},
            width=0.8,
            name="where the rule says",
            showlegend=row == 1,
            row=row,
            col=1,
        )
        for verdict, (colour, symbol) in VERDICTS.items():
            own = part[part["verdict"] == verdict]
            figure.add_scatter(
                x=own["estimate"],
                y=own["rule"],
                mode="markers",
                error_x={
                    "array": own["high"] - own["estimate"],
                    "arrayminus": own["estimate"] - own["low"],
                    "thickness": 1.5,
                },
                marker={"color": colour, "symbol": symbol, "size": 10},
                name=verdict,
                legendgroup=verdict,
                showlegend=bool(len(own)) and unit == _first_unit(table, units, verdict),
                row=row,
                col=1,
            )
        figure.add_scatter(
            x=part["nothing"],
            y=part["rule"],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 13, "color": "black", "line_width": 2},
            name="if scores were independent of settings",
            showlegend=row == 1,
            row=row,
            col=1,
        )
        figure.update_xaxes(title=UNITS[unit], range=[left, right], row=row, col=1)
        figure.update_yaxes(
            categoryorder="array", categoryarray=list(part["rule"])[::-1], row=row, col=1
        )
    height = 150 + 26 * len(table) + 80 * len(units)
    return titled(figure, height, "Rules of thumb: means over datasets and their 95 % intervals")


def agreement_figure(by_dataset: pd.DataFrame, again: pd.DataFrame) -> go.Figure | None:
    """Rank correlations of every pair of models and of repeats, a dot a dataset."""
    parts = [
        by_dataset.assign(pair=by_dataset["proxy"] + "<br>for " + by_dataset["target"]),
        again.assign(pair=again["model"] + "<br>with other seeds"),
    ]
    table = pd.concat([p[["pair", *REFERENCE]] for p in parts if len(p)] or [pd.DataFrame()])
    if table.empty:
        return None
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[
            f"{name.title()} (dashed: JF-HPO's proxy, {reference:.2f})"
            for name, reference in REFERENCE.items()
        ],
    )  # fmt: skip
    pairs = list(dict.fromkeys(table["pair"]))
    named: set[bool] = set()
    for column, (metric, reference) in enumerate(REFERENCE.items(), start=1):
        spread = np.random.default_rng(0)
        for place, pair in enumerate(pairs):
            values = table.loc[table["pair"] == pair, metric].to_numpy(float)
            se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
            repeats = pair.endswith("seeds")
            figure.add_scatter(
                x=place + spread.uniform(-0.25, 0.05, len(values)),
                y=values,
                mode="markers",
                marker={"size": 7, "opacity": 0.6, "color": GREY},
                name="a dataset",
                showlegend=column == 1 and place == 0,
                row=1,
                col=column,
            )
            figure.add_scatter(
                x=[place + 0.22],
                y=[values.mean()],
                error_y={"array": [se], "thickness": 2, "width": 5},
                mode="markers",
                marker={
                    "size": 11,
                    "color": ORANGE if repeats else BLUE,
                    "symbol": "square" if repeats else "circle",
                },
                name="repeats: mean ± standard error" if repeats else "mean ± standard error",
                showlegend=repeats not in named,
                row=1,
                col=column,
            )
            named.add(repeats)
        figure.add_hline(y=reference, line={"dash": "dash", "color": RED}, row=1, col=column)
    figure.update_xaxes(
        tickvals=list(range(len(pairs))), ticktext=pairs, range=[-0.5, len(pairs) - 0.5]
    )
    low = min(0.0, float(table[list(REFERENCE)].to_numpy().min()) - 0.05)
    figure.update_yaxes(range=[low, 1.05], zeroline=True, zerolinecolor=GREY)
    return titled(figure, 470, "How well a model's scores order the configurations of another")


def _first_unit(table: pd.DataFrame, units: list[str], verdict: str) -> str:
    """The first panel that shows a verdict, where the legend takes it from."""
    shown = set(table.loc[table["verdict"] == verdict, "unit"])
    return next((unit for unit in units if unit in shown), "")
