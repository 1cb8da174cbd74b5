"""The search, whole and without parts of it, on tables of trials of other fields.

    python -m benchmarks.outside FOLDER --suite lcbench --ablate ranker

FOLDER holds ``spaces.json`` and, for each suite in it, ``SUITE.parquet``: hyperparameters, scores
at rising lengths of training (``score_1`` to the last, which is the full trial), ``instance`` (a
dataset) and ``sample`` (``history``: trials to learn from, or ``pool``: candidates). Each instance
in turn is the target: the others' histories are learned from, and the search chooses full-length
trials among the target's pool. Regret is (best - score) / (best - median) over the pool, at most 1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core, whatever a library would take

import ConfigSpace as cs
import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from surrogates.space.encoding import PREFIX, SpaceEncoder
from tasks.output.csv_tables import write_csv

HISTORY_TRIALS = 100  # of each other instance
COSTS = (5, 10, 20)  # full trials
WHOLE = "whole"


def space_of(hyperparameters: list[dict[str, Any]]) -> cs.ConfigurationSpace:
    """The space of a suite, as its ``spaces.json`` describes it."""
    space = cs.ConfigurationSpace(seed=0)
    for given in hyperparameters:
        name = given["name"]
        if given["type"] == "cat":
            space.add(cs.Categorical(name, given["choices"]))
            continue
        kind = cs.Integer if given["type"] == "int" else cs.Float
        space.add(kind(name, (given["lower"], given["upper"]), log=given["log"]))
    for given in hyperparameters:
        if "parent" in given:
            child, parent = space[given["name"]], space[given["parent"]]
            space.add(cs.InCondition(child, parent, given["active_when"]))
    return space


def history_of(rows: pd.DataFrame, target: str, names: list[str], score: str) -> pd.DataFrame:
    """Full-length trials of every instance but the target, as the search reads a history."""
    past = rows[(rows["instance"] != target) & (rows["sample"] == "history")]
    past = past.groupby("instance").head(HISTORY_TRIALS)
    columns = {name: PREFIX + name for name in names}
    return past.rename(columns={"instance": "dataset_id", score: "score"} | columns)[
        ["dataset_id", "score", *columns.values()]
    ]


def regrets(search: Search, pool: pd.DataFrame, scores: np.ndarray) -> list[float]:
    """Regret of the best trial so far, after each of the first trials of a fresh search.

    The pool has a row for each of n candidates, whose scores are (n,); more is better.
    """
    encoder: SpaceEncoder = search.encoder
    score_of = dict(zip(map(encoder.key, encoder.from_frame(pool)), scores, strict=True))
    best, span = scores.max(), scores.max() - np.median(scores)
    reached: list[float] = []
    for _ in range(max(COSTS)):
        [proposal] = search.ask(candidates=pool)
        score = float(score_of[encoder.key(proposal.config)])
        search.tell(proposal.id, score)
        regret = float(np.clip((best - score) / span, 0.0, 1.0))
        reached.append(min(regret, *reached[-1:]) if reached else regret)
    return reached


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Of the tables.")],
    suite: Annotated[str, typer.Option(help="Name in spaces.json.")],
    ablate: Annotated[str, typer.Option(help="Parts left out in turn, commas between.")] = "",
    instances: Annotated[int, typer.Option(help="Targets, the first ones.", min=1)] = 8,
    seeds: Annotated[int, typer.Option(help="Searches on each target.", min=1)] = 1,
    csv: Annotated[Path | None, typer.Option(help="File for every search's regrets.")] = None,
) -> None:
    """Mean regret of the search after 5, 10 and 20 trials, with and without parts of it."""
    described = json.loads((folder / "spaces.json").read_text("utf-8"))[suite]
    rows = pd.read_parquet(folder / f"{suite}.parquet")
    score = f"score_{len(described['cost_at_score'])}"
    if not described["maximize"]:
        rows[score] = -rows[score]
    space = space_of(described["hyperparameters"])
    names = [given["name"] for given in described["hyperparameters"]]
    arms = {WHOLE: ()} | {f"without {p}": (p,) for p in filter(None, ablate.split(","))}
    records = []
    for target in track(sorted(rows["instance"].unique())[:instances], suite):
        offline = OfflineModels.fit(history_of(rows, target, names, score), space)
        pool = rows[(rows["instance"] == target) & (rows["sample"] == "pool")]
        for seed in range(seeds):
            for arm, left_out in arms.items():
                search = Search(
                    space, seed=seed, budget=float(max(COSTS)), offline=offline,
                    rungs=(1.0,), ablate=left_out,
                )  # fmt: skip
                found = regrets(search, pool[names], pool[score].to_numpy())
                costs = {f"cost {cost}": found[cost - 1] for cost in COSTS}
                records.append({"instance": target, "seed": seed, "arm": arm} | costs)
        if csv is not None:
            write_csv(pd.DataFrame(records), csv)
    show(pd.DataFrame(records), list(arms))


def show(found: pd.DataFrame, arms: list[str]) -> None:
    """A table of mean regrets and, for each arm, its mean difference to the whole search."""
    table = Table("arm", *(f"cost {cost}" for cost in COSTS))
    values = found.set_index(["arm", "instance", "seed"])
    for arm in arms:
        gap = values.loc[arm] - values.loc[WHOLE]
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        cells = values.loc[arm].mean().map("{:.3f}".format)
        if arm != WHOLE:
            cells = cells + gap.mean().map(" ({:+.3f}".format) + error.map(" ± {:.3f})".format)
        table.add_row(arm, *cells)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
