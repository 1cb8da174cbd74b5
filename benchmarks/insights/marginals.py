"""Location of good configurations: marginal effects of hyperparameters, and the best decile."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.insights.landscape import Landscape, stage_of
from benchmarks.insights.spread import interval95, mean_se
from surrogates.space.axes import Axis, ChoiceAxis, NumberAxis, OrdinalAxis

BEST = 0.1  # the share of a group's configurations that count as its best
VALUES = ("best_value", "low_value", "high_value", "all_value")


def marginal_effects(landscape: Landscape, bins: int = 5) -> pd.DataFrame:
    """Mean standardised score by value of each hyperparameter, over the rows where it is active,
    and less their mean in the group: what other values of it would have given.

    A range falls into quantile bins; levels and choices stand for themselves.

    Returns:
        One row per hyperparameter and bin: hyperparameter, stage, bin (a label), low, high, centre
        (values; NaN for choices), effect (mean over datasets), effect_se, datasets, trials.
    """
    out = []
    for axis, unit in zip(landscape.axes, landscape.unit.T, strict=True):
        cells, labels = _cells(axis, unit, bins)
        z = landscape.z.copy()
        for members in landscape.groups.values():
            active = members[cells[members] >= 0]
            z[active] -= z[active].mean() if len(active) else 0.0
        for number, label in enumerate(labels):
            rows = np.flatnonzero(cells == number)
            if len(rows):
                place = {"hyperparameter": axis.name, "stage": stage_of(axis.name)}
                out.append(place | label | _effect(landscape, z, rows))
    return pd.DataFrame(out)


def pair_effects(
    landscape: Landscape, pairs: Sequence[tuple[str, str]], bins: int = 4
) -> pd.DataFrame:
    """Mean standardised score over the cells of two hyperparameters.

    Returns:
        One row per pair and cell: first, second, first_bin, second_bin (labels), effect (mean over
        datasets with rows there), effect_se, datasets, trials.
    """
    out = []
    for pair in pairs:
        places = [landscape.names.index(name) for name in pair]
        (rows, row_labels), (columns, column_labels) = (
            _cells(landscape.axes[i], landscape.unit[:, i], bins) for i in places
        )
        for i, j in itertools.product(range(len(row_labels)), range(len(column_labels))):
            inside = np.flatnonzero((rows == i) & (columns == j))
            if len(inside):
                names = (*pair, row_labels[i]["bin"], column_labels[j]["bin"])
                cell = dict(zip(("first", "second", "first_bin", "second_bin"), names, strict=True))
                out.append(cell | _effect(landscape, landscape.z, inside))
    return pd.DataFrame(out)


def best_region(landscape: Landscape, best: float = BEST) -> pd.DataFrame:
    """Position of the best configurations of a dataset, and of all of them.

    The best are those of the rows where a hyperparameter is active. Of a range or of levels in
    order, the mean position on the axis (its own scale, 0 to 1); of choices, the share of each. As
    the best of noisy scores are partly lucky, a shift is a lower bound of the true one.

    Returns:
        One row per hyperparameter, or choice of one: hyperparameter, stage, choice (empty for
        ranges), best, best_se, datasets, all, shift (best - all), shift_se, clear (whether the 95 %
        interval of the shift leaves out 0), best_value, low_value, high_value (the
        position and its 95 % interval as values), all_value.
    """
    out = []
    for axis, unit in zip(landscape.axes, landscape.unit.T, strict=True):
        if isinstance(axis, ChoiceAxis):
            cells, labels = _cells(axis, unit, 0)
            columns = {str(label["bin"]): (cells == i) * 1.0 for i, label in enumerate(labels)}
        else:
            columns = {"": unit}
        for choice, column in columns.items():
            tops, everywhere = _by_dataset(landscape, column, best)
            top, shift = mean_se(tops, "best"), mean_se(tops - everywhere, "shift")
            whole = float(everywhere.mean())
            low, high = interval95(shift["shift"], shift["shift_se"], int(shift["datasets"]))
            ends = interval95(top["best"], top["best_se"], int(top["datasets"]))
            values = ["" if choice else _value(axis, u) for u in (top["best"], *ends, whole)]
            out.append(
                {
                    "hyperparameter": axis.name,
                    "stage": stage_of(axis.name),
                    "choice": choice,
                    **top,
                    "all": whole,
                    **shift,
                    "clear": bool(low > 0 or high < 0),
                    **dict(zip(VALUES, values, strict=True)),
                }
            )
    return pd.DataFrame(out)


def top_weights(scores: np.ndarray, best: float = BEST) -> np.ndarray:
    """Weight of each score among the best share of them; they sum to 1.

    Scores at the edge share what is left, so that ties are not broken by chance.
    """
    count = max(1, round(best * len(scores)))
    edge = np.sort(scores)[-count]
    above, tied = scores > edge, scores == edge
    return (above + tied * (count - above.sum()) / tied.sum()) / count


def _effect(landscape: Landscape, z: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Mean standardised score of some rows over datasets: effect, effect_se, datasets, trials."""
    place = [landscape.dataset[rows], landscape.group[rows]]
    each = pd.Series(z[rows]).groupby(place).mean().groupby(level=0).mean()
    return {**mean_se(each.to_numpy(), "effect"), "trials": len(rows)}


def _by_dataset(
    landscape: Landscape, column: np.ndarray, best: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a column over the best of its active rows, and over all of them, per dataset."""
    means = []
    for rows in landscape.groups.values():
        active = rows[~np.isnan(column[rows])]
        if len(active):
            top = float(top_weights(landscape.score[active], best) @ column[active])
            means.append((landscape.dataset[rows[0]], top, float(column[active].mean())))
    table = pd.DataFrame(means, columns=["dataset", "top", "all"]).groupby("dataset").mean()
    return table["top"].to_numpy(), table["all"].to_numpy()


def _cells(axis: Axis, unit: np.ndarray, bins: int) -> tuple[np.ndarray, list[dict[str, object]]]:
    """Bin of each row (-1 where inactive), and the label and range of each bin."""
    active = ~np.isnan(unit)
    cells = np.full(len(unit), -1)
    steps = np.unique(unit[active])
    if isinstance(axis, NumberAxis) and len(steps) > bins:
        inner = np.quantile(unit[active], np.arange(1, bins) / bins)
        cells[active] = np.searchsorted(inner, unit[active], side="right")
        return cells, [_label(axis, unit[cells == i]) for i in range(bins)]
    values = [axis.decode(u) for u in steps]
    cells[active] = np.searchsorted(steps, unit[active])
    numbers = [v if isinstance(v, int | float) else np.nan for v in values]
    return cells, [
        {"bin": str(v), "low": number, "high": number, "centre": number}
        for v, number in zip(values, numbers, strict=True)
    ]


def _label(axis: NumberAxis, inside: np.ndarray) -> dict[str, object]:
    if len(inside) == 0:
        return {"bin": ""}
    low, centre, high = (axis.decode(u) for u in (inside.min(), np.median(inside), inside.max()))
    text = f"{compact(low)} to {compact(high)}"
    return {"bin": text, "low": low, "high": high, "centre": centre}


def compact(number: float) -> str:
    """Two digits, three from ten on; small numbers as 4.5e-5."""
    if number == 0 or abs(number) >= 0.01:
        return f"{number:.2g}" if abs(number) < 10 else f"{number:.3g}"
    digits, power = f"{number:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _value(axis: Axis, u: float) -> str:
    """A position on the axis as a value; between two levels, in proportion."""
    if not np.isfinite(u):
        return ""
    if isinstance(axis, OrdinalAxis):
        steps = [float(s) for s in axis.sequence if isinstance(s, int | float)]
        if len(steps) != len(axis.sequence):
            return str(axis.decode(u))
        return compact(float(np.interp(u * len(steps) - 0.5, np.arange(len(steps)), steps)))
    value = axis.decode(u)
    return compact(value) if isinstance(value, float) else str(value)
