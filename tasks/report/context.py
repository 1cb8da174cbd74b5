"""The data of the report's templates, gathered from a run folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from surrogates.core.metrics import spearman
from surrogates.evaluation.importance import MIN_TRIALS, Importance, importance_of
from surrogates.space.axes import Axis
from surrogates.space.ticks import searched_axes
from tasks.config.command import beyond_options, reproduce_command
from tasks.config.paths import DATASET_DOCS, HISTORY_DOCS, history_folder
from tasks.report import figures, figures_curves, figures_space
from tasks.report.proxies import proxy_rows
from tasks.runs.folder import RunFolder
from tasks.runs.formatting import format_setting
from tasks.runs.tables import RunTables, iter_rows, or_nan

# Pages of Great Expectations, by what they are about: folders in the run's folder.
DATA_DOCS = {"the dataset": DATASET_DOCS, "the history": HISTORY_DOCS}
CURVES = {  # metric: title, and the stage that it belongs to; None for both
    "score": ("validation score", None),
    "loss": ("SFT loss", "sft"),
    "reward": ("RL reward", "rl"),
    "kl": ("KL to the SFT model", "rl"),
}
KEY_HYPERPARAMETERS = 3  # columns in the table of trials
MAX_FILES = 40


def report_context(run: RunFolder) -> dict[str, Any]:
    """Everything the templates show of a run; what is not known yet is None or empty.

    Raises:
        pydantic.ValidationError: when a record of the run folder is damaged.
    """
    tables = RunTables.read(run)
    info, summary, trials = tables.info, tables.summary, tables.trials
    final = figures_space.final_configurations(trials)
    axes = searched_axes(info.space)
    varied = {name: axes[name] for name in tables.varied if name in axes}
    ranking = importance_of(list(final.config), final.final, varied, info.settings.seed)
    if ranking is not None:
        varied = {name: varied[name] for name in ranking.table.name}
    files = (path for path in (run.path / "best").rglob("*") if path.is_file())
    prior = figures.observed_with_prior(trials)
    # The command takes the project's history by itself.
    folder = Path(info.history.folder) if info.history.folder else None
    return {
        "info": info,
        "summary": summary,
        "tables": tables,
        "trials": list(iter_rows(trials)),
        "best": tables.best_row,
        "any_finished": bool(trials.seconds.notna().any()),
        "figures": _figures(tables, final, varied, ranking),
        "data_docs": dict(_data_docs(run)),
        "kinds": _kinds(tables),
        "models": dict(zip(trials.trial_id, trials.model, strict=True)),
        "proxies": list(proxy_rows(tables)),
        **_configuration(tables),
        "exported": sorted(path.relative_to(run.path).as_posix() for path in files),
        "max_files": MAX_FILES,
        "key_hyperparameters": list(varied)[:KEY_HYPERPARAMETERS],
        "forecasts": list(_forecasts(tables)),
        "curves": {} if tables.curves.empty else {f"curve-{m}": CURVES[m][0] for m in CURVES},
        "smoothing_steps": figures_curves.SMOOTHING_STEPS,
        "chips": list(_chips(tables)),
        "prior_configurations": len(prior),
        "prior_rank_correlation": spearman(prior.prior, prior.final) if len(prior) >= 3 else None,
        "varied": len(varied),
        "configurations": len(final),
        "undrawn": len(trials) - len(final),
        "ranking": ranking,
        "min_trials": MIN_TRIALS,
        "ended_early": [
            t for t in tables.records if t.result is None or t.result.failure or t.result.stop
        ],
        "command": reproduce_command(info.settings, folder if folder != history_folder() else None),
        "beyond_options": beyond_options(info.settings),
    }


def _figures(
    tables: RunTables, final: pd.DataFrame, varied: Mapping[str, Axis], ranking: Importance | None
) -> dict[str, go.Figure]:
    """The charts that there are data for, by their anchor in the page."""
    trials, summary, best = tables.trials, tables.summary, tables.best_row
    drawn: dict[str, go.Figure] = {}
    if summary is not None:
        measured = {"best": summary.best, "default": summary.default, "base": summary.base}
        drawn["comparison"] = figures.comparison({n: m for n, m in measured.items() if m})
        drawn["cost-chart"] = figures.cost(summary.trial_seconds, summary.full_cost_seconds)
    if trials.seconds.notna().any():
        base = tables.info.base_validation.score
        drawn["progress-chart"] = figures.progress(trials, base, _default_score(tables))
        drawn["fractions-chart"] = figures.fractions(trials)
    for metric, (title, stage) in CURVES.items():
        best_id = None if best is None else str(best.trial_id)
        curve = figures_curves.curve(tables.curves, trials, metric, title, stage, best_id)
        if curve.data:
            drawn[f"curve-{metric}"] = curve
    with_prior = figures.observed_with_prior(trials)
    if len(with_prior) and tables.info.history.trials:
        drawn["prior-chart"] = figures.prior_against_observed(with_prior)
    if len(final) >= 2 and varied:
        drawn["space-chart"] = figures_space.parallel_coordinates(final, varied)
    if ranking is not None:
        drawn["importance-chart"] = figures_space.importance(ranking)
    return drawn


def _default_score(tables: RunTables) -> float | None:
    """Validation score of the default configuration at full length, once it is known."""
    if tables.summary and tables.summary.default:
        return tables.summary.default.validation
    tried = tables.trials[(tables.trials.origin == "default") & tables.trials.full_length]
    return float(tried.score.iloc[0]) if len(tried) else None


def _data_docs(run: RunFolder) -> Iterator[tuple[str, str]]:
    """The page of results of each suite; the index shows nothing without internet."""
    for name, folder in DATA_DOCS.items():
        if pages := sorted((run.path / folder / "validations").rglob("*.html")):
            yield name, pages[-1].relative_to(run.path).as_posix()


def _kinds(tables: RunTables) -> str:
    """How many trials ended in which way, model by model where some ran on proxies."""
    if not tables.proxied:
        return _counted(tables.trials)
    trials, target = tables.trials, tables.info.model
    models = dict.fromkeys(trials.model)
    return "; ".join(f"{_counted(trials[trials.model == m])} on {m or target}" for m in models)


def _counted(trials: pd.DataFrame) -> str:
    kinds = [figures.trial_ending(row) for row in iter_rows(trials)]
    counts = {kind: kinds.count(kind) for kind in figures.TRIAL_STYLES if kind in kinds}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _configuration(tables: RunTables) -> dict[str, Any]:
    """The best configuration beside the default: name, both values, whether they differ."""
    best, default = tables.best_row, tables.default_config
    config = tables.summary.best.config if tables.summary else None
    if config is None:
        config = {} if best is None else best.config
    rows = [
        (
            name,
            format_setting(config.get(name)),
            format_setting(default.get(name)) if default else "–",
            default is not None and config.get(name) != default.get(name),
        )
        for name in (dict.fromkeys([*config, *(default or {})]) if config else ())
    ]
    differing = sum(differs for *_, differs in rows)
    return {"configuration": rows, "default_config": default, "differing": differing}


def _forecasts(tables: RunTables) -> Iterator[dict[str, Any]]:
    """The search's forecast of each trial, in parts, and the final score; NaN if not known.

    A proxy's trial was forecast for the proxy, and so its own score at full length is the actual.
    """
    finals = {
        row.trial_id: row.score
        if row.model and figures.trial_ending(row) == "full length"
        else row.final
        for row in iter_rows(tables.trials)
    }
    for p in tables.proposals:
        if p.expected_score is None:
            continue
        prior = or_nan(p.prior_score)
        yield {
            "trial_id": p.trial_id,
            "origin": p.origin,
            "model": p.model or "",
            "prior": prior,
            "change": p.expected_score - prior,
            "expected": p.expected_score,
            "expected_sd": p.expected_score_sd,
            "failure": or_nan(p.failure_probability),
            "cost": or_nan(p.expected_cost),
            "final": finals.get(p.trial_id, math.nan),
        }


def _chips(tables: RunTables) -> Iterator[tuple[Any, str]]:
    """Trials that have curves with their colours, the best first: the legend of the curves."""
    colors = figures_curves.trial_colors(tables.trials)
    drawn = set(tables.curves.trial_id) - figures.continued_trials(tables.trials)
    for row in iter_rows(tables.trials.sort_values("final", ascending=False)):
        if row.trial_id in drawn:
            yield row, colors[row.trial_id]
