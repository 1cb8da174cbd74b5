"""Evaluation of the offline models on datasets that they have not seen: tables and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from surrogates.evaluation import leave_one_out
from surrogates.evaluation.baselines import LOSSES
from surrogates.offline.models import OfflineModels
from surrogates.offline.ranker import VARIANTS
from tasks.config.paths import OfflineFolder
from tasks.config.progress import Report, silent
from tasks.config.steps import step
from tasks.history.prefixes import PREFIX_FRACTIONS
from tasks.inputs.spaces import load_space
from tasks.offline.feature_groups import groups_of, learned_features, meta_names
from tasks.offline.train import chosen_name, past_trials, trained
from tasks.output.csv_tables import read_csv, write_csv
from tasks.output.numbers import DIGITS, FLOAT_FORMAT, metrics_by_name
from trials.io.errors import SettingsError

SECTION = "offline"  # of params.yaml

TABLES = ("ranker", "ranker_by_dataset", "features", "early")  # of an evaluation; files in plots/


class OfflineSettings(BaseModel):
    """The section `offline` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str = Field(
        "sft_grpo", description="Search space that is evaluated: a name in data/spaces, or a file."
    )
    seed: int = Field(0, description="Of every model.")
    losses: tuple[str, ...] = Field(
        LOSSES, description="CatBoost losses of the rankers that are compared."
    )
    trees: int = Field(150, ge=1, description="Of each model that is evaluated.")
    rungs: tuple[float, ...] = Field(
        PREFIX_FRACTIONS,
        description="Fractions of a trial at which the early predictor is evaluated.",
    )
    feature_loss: str = Field(
        "RMSE", description="Loss of the ranker that tells what groups of meta-features add."
    )

    @field_validator("losses", "feature_loss")
    @classmethod
    def _known_losses(cls, value: Any) -> Any:
        if unknown := ({value} if isinstance(value, str) else set(value)) - set(LOSSES):
            raise ValueError(f"expected some of {list(LOSSES)}, found {sorted(unknown)}")
        return value

    @field_validator("rungs")
    @classmethod
    def _known_rungs(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or set(value) - set(PREFIX_FRACTIONS):
            raise ValueError(f"expected some of {list(PREFIX_FRACTIONS)}, found {list(value)}")
        return value


class Evaluation(BaseModel):
    """The results of an evaluation, one table per question."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    ranker: pd.DataFrame  # one row per ranking method: means over datasets and standard errors
    ranker_by_dataset: pd.DataFrame
    """The same before averaging, one row per method and held-out group."""
    features: pd.DataFrame
    early: pd.DataFrame  # one row per fraction of the schedule
    trials: int
    groups: int
    datasets: int
    chosen: str  # the variant that the search would use
    trusted: float
    """Share of the score's scale that the search expects the prior to explain; 0: ignored."""


@step
def evaluate(
    settings: OfflineSettings, output: OfflineFolder, report: Report = silent
) -> Evaluation:
    """Evaluates every ranking method, the groups of features and the early predictor.

    Writes ``metrics.json`` and ``plots/``, and reports the name of each part as it begins.

    Raises:
        SettingsError: an earlier step has not run.
        HistoryError: when fewer than two datasets can be evaluated, or there are no prefixes.
    """
    rows, done = evaluation_trials(output, settings), count()
    total = parts(settings, len(groups_of(meta_names(rows))))
    found = evaluated(rows, trained(output), settings, lambda name: report(name, next(done), total))
    write_evaluation(found, output)
    return found


def evaluation_trials(output: OfflineFolder, settings: OfflineSettings) -> pd.DataFrame:
    """Full trials and the prefixes at the settings' rungs, with all meta-features.

    Raises:
        SettingsError: an earlier step has not run.
    """
    rows = past_trials(output)
    rows = rows[rows["fraction"].isin([*settings.rungs, 1.0]) | (rows["state"] == "failed")]
    return rows.reset_index(drop=True)


def evaluated(
    rows: pd.DataFrame,
    models: OfflineModels,
    settings: OfflineSettings,
    report: Callable[[str], None],
) -> Evaluation:
    """The same, of these rows; nothing is written."""
    everything, rows = rows, learned_features(rows)
    space, seed = load_space(settings.space), settings.seed
    chosen = models.ranker.variant if models.ranker else VARIANTS[0]
    methods = leave_one_out.ranking_methods(settings.losses, settings.trees, searched=chosen)
    by_group = leave_one_out.evaluate_ranker(rows, space, seed, methods=methods, report=report)
    features = leave_one_out.evaluate_features(
        everything,
        space,
        groups_of(meta_names(everything)),
        seed,
        loss=settings.feature_loss,
        trees=settings.trees,
        report=lambda name: report(f"features: {name}"),
    )
    report("early predictor")
    early = leave_one_out.evaluate_early(rows, space, seed)
    prior = models.mean_prior
    return Evaluation(
        ranker=leave_one_out.summarise(by_group),
        ranker_by_dataset=by_group,
        features=with_gains(features),
        early=early,
        trials=int(((rows["fraction"] >= 1.0) & (rows["state"] != "failed")).sum()),
        groups=by_group["group"].nunique(),
        datasets=by_group["dataset"].nunique(),
        chosen=chosen_name(models),
        trusted=prior.rho if prior else 0.0,
    )


def with_gains(features: pd.DataFrame) -> pd.DataFrame:
    """The table of features with the Kendall tau that each group gains, dataset by dataset."""
    gained = leave_one_out.gains(features, leave_one_out.BASELINE)
    table = leave_one_out.summarise(features)
    table["gain"], table["gain_se"] = zip(*(gained[name] for name in table["method"]), strict=True)
    return table


def parts(settings: OfflineSettings, groups: int) -> int:
    """The number of reports of `evaluated`, with so many groups of features."""
    return len(leave_one_out.ranking_methods(settings.losses, settings.trees)) + groups + 3


def write_evaluation(found: Evaluation, output: OfflineFolder) -> None:
    """Writes ``metrics.json`` and ``plots/*.csv``, the same bytes for the same numbers."""
    output.plots.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        write_csv(getattr(found, name), output.plots / f"{name}.csv", FLOAT_FORMAT)
    metrics = {
        "history": {"trials": found.trials, "groups": found.groups, "datasets": found.datasets},
        "search": {"chosen": found.chosen, "trusted": round(found.trusted, DIGITS)},
        "ranker": metrics_by_name(found.ranker.drop(columns="datasets"), "method"),
        "features": metrics_by_name(found.features.drop(columns="datasets"), "method"),
        "early": metrics_by_name(found.early.drop(columns="datasets"), "fraction"),
    }
    output.metrics.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def read_evaluation(output: OfflineFolder) -> Evaluation:
    """The evaluation that `write_evaluation` wrote.

    Raises:
        SettingsError: it is not there, or not whole.
    """
    try:
        metrics = json.loads(output.metrics.read_text(encoding="utf-8"))
        tables = {name: read_csv(output.plots / f"{name}.csv") for name in TABLES}
        return Evaluation(**metrics["history"], **metrics["search"], **tables)
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"{output.path} holds no evaluation: {error!r}\n  make it with: make offline"
        ) from None


def with_error(table: pd.DataFrame, name: str, digits: int = 3) -> list[str]:
    """A column and its standard error as text: "0.123 ± 0.045"."""
    if f"{name}_se" not in table:
        return [f"{v:.{digits}f}" for v in table[name]]
    pairs = zip(table[name], table[f"{name}_se"], strict=True)
    return [f"{v:.{digits}f} ± {se:.{digits}f}" for v, se in pairs]


SHOWN = tuple(m for m in leave_one_out.RANKING_METRICS if m != "pearson")
