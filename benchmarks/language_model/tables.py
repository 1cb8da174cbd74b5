"""The tables of `python -m benchmarks.language_model show`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.language_model.evidence import (
    Guide,
    Trials,
    judged,
    learned,
    recipes,
    scored,
    summary,
    trials_of,
)
from benchmarks.replay.store import other_datasets
from surrogates.space.encoding import SpaceEncoder
from tasks.history.rows import history_files, read_history
from tasks.inputs.recipes import reference_rule
from tasks.inputs.spaces import load_space
from trials.io.errors import SettingsError

RELATIVE, AS_THEY_ARE, RECIPES, PROXY = (
    "tiny models, relative rates",
    "tiny models, rates as they are",
    "recipes",
    "proxy",
)


def tables(history: Path, space: Path, model: str, proxy: str) -> dict[str, pd.DataFrame]:
    """Trials, guides by dataset, and guides on average; names of models by their beginning.

    Raises:
        SettingsError: there are no trials of the model.
    """
    rows = read_history(history_files(history))
    mine = rows[rows["model_id"].str.startswith(model)] if len(rows) else rows
    if mine.empty:
        raise SettingsError(f"{history}: expected trials of a model called {model}..., found none")
    searched = load_space(str(space))
    encoder = SpaceEncoder(searched)
    found, listed = [], []
    for dataset in sorted(mine["dataset_id"].unique()):
        name = mine.loc[mine["dataset_id"] == dataset, "model_id"].iloc[0]
        trials = trials_of(rows, dataset, name, encoder)
        listed.append(_described(trials))
        past = other_datasets(dataset, "true")
        size = round(10 ** float(trials.meta["model_log_parameters"]))
        guides: dict[str, Guide] = {
            RELATIVE: learned(past, searched, trials, relative=True),
            AS_THEY_ARE: learned(past, searched, trials, relative=False),
            RECIPES: recipes(reference_rule(), size),
        }
        small = _proxy_trials(rows, dataset, proxy, encoder)
        if small is not None:
            guides[PROXY] = scored(small, encoder)
        found.append(judged(trials, guides))
    judgements = pd.concat(found, ignore_index=True)
    known = [
        name for name in (RELATIVE, AS_THEY_ARE, RECIPES, PROXY) if name in set(judgements["guide"])
    ]
    return {
        "The trials": pd.DataFrame(listed),
        "What was foreseen, by dataset": judgements,
        "What was foreseen, on average": summary(judgements, known).reset_index(),
    }


def _described(trials: Trials) -> dict[str, object]:
    best = trials.configs[int(trials.score.argmax())]
    return {
        "dataset": trials.dataset,
        "trials": len(trials.score),
        "base": trials.meta.get("base_score", float("nan")),
        "default": trials.score[0],
        "worst": trials.score.min(),
        "median": pd.Series(trials.score).median(),
        "best": trials.score.max(),
        "se": trials.score_se.mean(),
        "best adapter": best.get("adapter"),
        "best SFT rate": f"{best['sft_learning_rate']:.1e}",
    }


def _proxy_trials(
    rows: pd.DataFrame, dataset: str, proxy: str, encoder: SpaceEncoder
) -> Trials | None:
    here = rows[(rows["dataset_id"] == dataset) & rows["model_id"].str.startswith(proxy)]
    return trials_of(rows, dataset, here["model_id"].iloc[0], encoder) if len(here) else None
