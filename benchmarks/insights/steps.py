"""The questions to the history: hyperparameters, models as proxies, noise; one table each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.insights import agreement as agree
from benchmarks.insights.anova import decompose
from benchmarks.insights.importance import importance, interactions, own_effects, stages
from benchmarks.insights.landscape import Landscape
from benchmarks.insights.marginals import best_region, marginal_effects, pair_effects
from benchmarks.insights.rules import evaluate_rules
from tasks.history.checks import learnable_history
from tasks.inputs.spaces import load_space
from tasks.offline.validate import require_history_files
from tasks.output.csv_tables import write_csv
from tasks.output.numbers import FLOAT_FORMAT, metrics_by_name

SECTION = "insights"  # of params.yaml
# What JF-HPO (arXiv 2606.03073) reports of its proxy model.
REFERENCE = {"spearman": 0.90, "kendall": 0.80}
# Table -> the column that names its rows, and those to follow from one history to the next.
METRICS = {
    "models": ("model", ["r2", "r2_se"]),
    "importance": ("hyperparameter", ["main", "main_se", "own", "own_se"]),
    "stages": ("stage", ["share", "share_se"]),
    "rules": ("rule", ["estimate", "estimate_se"]),
    "agreement": ("pair", ["spearman", "spearman_se", "kendall", "kendall_se"]),
    "noise": ("model", ["seed_sd", "noise_share", "icc", "spearman", "kendall"]),
}


class InsightSettings(BaseModel):
    """The section `insights` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str = "sft_grpo"
    seed: int = 0
    ranks: bool = False
    """Analyse normal scores of the ranks: a check that a few outstanding scores do not decide."""
    shuffles: int = Field(200, ge=20)
    """Permutations of the scores, which show how large an importance is by chance."""
    trees: int = Field(150, ge=1)  # of the boosted trees that the analysed model is compared with
    bins: int = Field(5, ge=2)  # of a range, in marginal effects
    pairs: int = Field(4, ge=1)  # the strongest pairs of hyperparameters, whose cells are shown
    top: tuple[int, ...] = (1, 3, 5)  # k of the regret and overlap of a proxy's k best


@dataclass(frozen=True)
class Insights:
    """The answers."""

    tables: dict[str, pd.DataFrame]
    """By name; the columns are those of the functions in this package that made them."""
    counts: dict[str, int]
    """Of trials, configurations, groups (dataset x model), datasets, models, failed."""


def finished_trials(folder: Path) -> pd.DataFrame:
    """The good rows of a history; bad ones go to its quarantine, as in every other reader of it.

    Raises:
        SettingsError: no history, an unreadable file, or no good row.
    """
    return learnable_history(require_history_files(folder))


def find_insights(
    rows: pd.DataFrame, settings: InsightSettings, report: Callable[[str], object]
) -> Insights:
    """Answer every question of the page, one table each; report each part as it begins.

    Failed and partial trials of the history are counted, not analysed.

    Raises:
        HistoryError: no dataset has enough configurations with scores that differ.
    """
    land = Landscape.of(rows, load_space(settings.space), ranks=settings.ranks)
    report("analysis of variance")
    parts = decompose(land, settings.seed, settings.shuffles, settings.trees)
    pairs = interactions(land, parts)
    strongest = list(zip(*(pairs[c][: settings.pairs] for c in ("first", "second")), strict=True))
    tables = {
        "models": parts.models,
        "importance": importance(land, parts),
        "importance_by_group": own_effects(land),
        "interactions": pairs,
        "stages": stages(land, parts),
    }
    report("marginal effects")
    tables |= {
        "marginals": marginal_effects(land, settings.bins),
        "pairs": pair_effects(land, strongest),
        "best_region": best_region(land),
    }
    report("rules of thumb")
    tables["rules"] = evaluate_rules(land)
    report("agreement")
    both, again = agree.agreement(land.runs, settings.top), agree.retest(land.runs)
    noise = agree.noise(land.runs)
    stability = 1.0 - noise.groupby("model")["noise_share"].mean()
    tables |= {
        "agreement": agree.summarise_agreement(both, stability.to_dict()),
        "agreement_by_dataset": both,
        "retest": again,
        "noise": agree.summarise_noise(noise, again),
        "noise_by_group": noise,
    }
    counts = {
        "trials": len(land.runs),
        "configurations": len(land),
        "groups": len(land.groups),
        "datasets": len(np.unique(land.dataset)),
        "models": land.runs["model"].nunique(),
        "failed": int((rows["state"] == "failed").sum()) if "state" in rows else 0,
    }
    return Insights(tables, counts)


def write_insights(found: Insights, folder: Path) -> Path:
    """Write `metrics.json` and `tables/*.csv`, the same bytes for the same numbers.

    Returns:
        The metrics file.
    """
    for name, table in found.tables.items():
        write_csv(table, folder / "tables" / f"{name}.csv", FLOAT_FORMAT)
    file = folder / "metrics.json"
    file.write_text(json.dumps(metrics(found), indent=1) + "\n", encoding="utf-8")
    return file


def metrics(found: Insights) -> dict[str, Any]:
    """The numbers to follow from one history to the next, for `dvc metrics`."""
    pairs = found.tables["agreement"]
    pairs = pairs.assign(pair=pairs["proxy"] + " for " + pairs["target"])
    regrets = [str(c) for c in pairs if re.fullmatch(r"regret\d+", str(c))]
    tables = found.tables | {"agreement": pairs}
    return {"history": found.counts} | {
        name: metrics_by_name(tables[name], key, [*columns, *(regrets if key == "pair" else [])])
        for name, (key, columns) in METRICS.items()
    }
