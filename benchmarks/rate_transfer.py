"""Do learning rates relative to the model's size carry over better from one size to another?

    python -m benchmarks.rate_transfer

The ranker is trained on the trials of some models and orders those of another one on a dataset
that it has not seen: with the rates as they are, and with r N^e, N the number of parameters. With
e = 0.2 equal numbers are equally far from the usual rates of the recipes (docs/spaces.md), with
e = 0.5 about what the rule of widths calls equal (Tensor Programs V, arXiv 2203.03466).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from typer import Option

from flows.cli.errors import friendly_errors
from flows.terminal.console import for_tables, say
from surrogates.history.outcomes import (
    Trials,
    dataset_means,
    evaluate_predictions,
)
from surrogates.history.rates import REFERENCE, SIZE, SLOPE
from surrogates.history.table import META, read_history
from surrogates.offline.boosting import Boosted
from surrogates.offline.ranker import VARIANTS
from tasks.output.csv_tables import write_csv

app = typer.Typer(help=__doc__, add_completion=False)

RATES = ("config.sft_learning_rate", "config.rl_learning_rate")
EXPONENTS: Mapping[str, tuple[float, float]] = {
    "as they are": (0.0, 0.0),
    "r N^0.2": (0.2, 0.2),
    "r N^0.2, SFT alone": (0.2, 0.0),
    "r N^0.5": (0.5, 0.5),
    "r N^0.5, SFT alone": (0.5, 0.0),
}
"""Of SFT and of RL."""
DIRECTIONS = {
    "from smaller": np.less,
    "from larger": np.greater,
    "from both": np.not_equal,
    "from every size": lambda sizes, _: np.ones(len(sizes), dtype=bool),
}


def relative(trials: Trials, exponents: tuple[float, float]) -> Trials:
    """The trials with rates r N^e in place of those that the ranker is given, r N^`SLOPE`."""
    features = trials.features.copy()
    size = sizes(trials) - REFERENCE
    for column, exponent in zip(RATES, exponents, strict=True):
        features[column] += (exponent - SLOPE) * size
    return replace(trials, features=features)


def sizes(trials: Trials) -> np.ndarray:
    """(n,) log10 of each model's parameters."""
    return pd.to_numeric(trials.features[META + SIZE]).to_numpy()


def held_out(trials: Trials, direction: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of the past and of the trials to be ordered: of one model on one dataset each.

    The past is of other datasets, and of the models that the direction says: all smaller ones, all
    larger ones, both, or every model, the one that is ordered among them. Without past trials there
    is nothing to learn from, and the pair is left out.
    """
    size = sizes(trials).round(3)
    for each in np.unique(size):
        others = DIRECTIONS[direction](size, each)
        for dataset in np.unique(trials.dataset[size == each]):
            past = others & (trials.dataset != dataset)
            if past.any():
                yield past, (size == each) & (trials.dataset == dataset)


def skill(trials: Trials, method: Boosted, direction: str, seed: int = 0) -> pd.DataFrame:
    """One row per model and dataset that were left out, see `evaluate_predictions`."""
    found = []
    for past, new in held_out(trials, direction):
        predicted = np.full(len(new), np.nan)
        predicted[new] = method(trials.observed(past), trials.candidates(new), seed)
        found.append(evaluate_predictions(trials, predicted, [new]))
    return pd.concat(found, ignore_index=True)


def table(trials: Trials, seed: int = 0) -> pd.DataFrame:
    """Kendall's tau by direction, way of training and rates, and its gain over rates as they are.

    The gain is paired, with its standard error over datasets.
    """
    rows = []
    for direction in DIRECTIONS:
        for method in VARIANTS[:1] + VARIANTS[2:3]:
            base = None
            for name, exponents in EXPONENTS.items():
                tau = dataset_means(skill(relative(trials, exponents), method, direction, seed))
                tau = tau["kendall_tau"]
                base = tau if base is None else base
                gain = tau - base
                rows.append(
                    {
                        "past": direction, "meta": bool(method.meta), "rates": name,
                        "tau": tau.mean(), "gain": gain.mean(),
                        "gain_se": gain.std(ddof=1) / np.sqrt(len(gain)), "datasets": len(tau),
                    }
                )  # fmt: skip
                say(
                    f"{direction}, {'with' if method.meta else 'without'} meta-features, rates "
                    f"{name}: tau {tau.mean():.3f}, {gain.mean():+.3f} ± {rows[-1]['gain_se']:.3f}"
                )
    return pd.DataFrame(rows)


@app.command()
def main(
    seed: Annotated[int, Option(help="Of the ranker.")] = 0,
    csv: Annotated[Path | None, Option(help="Where the table goes as CSV.")] = None,
) -> None:
    """Leave one model out, with rates as they are and relative to its size."""
    with friendly_errors():
        from benchmarks.replay.store import encoder_of, history

        encoder = encoder_of("sft_grpo")
        rows = read_history(history(), encoder, True)
        assert rows is not None
        found = table(Trials.of(rows, encoder), seed)
        for_tables().print(found.round(3).to_string(index=False))
        if csv is not None:
            write_csv(found, csv, "%.5g")


if __name__ == "__main__":
    app()
