"""The sections of the report about a run's trials, each made from its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surrogates.core.metrics import spearman
from surrogates.evaluation.importance import MIN_TRIALS, Importance
from surrogates.space.axes import Axis
from tasks.report import figures, figures_curves, figures_space
from tasks.report.page import Cell, Html, chart, details, join, note, section, table, tag
from tasks.runs.formatting import (
    format_duration,
    format_number,
    format_setting,
    percent,
    pluralize,
    plus_minus,
)
from tasks.runs.tables import UNFINISHED, RunTables, iter_rows, origin_parts

KEY_HYPERPARAMETERS = 3
MAX_FILES = 40


def progress(tables: RunTables) -> Html:
    """Best score against what was spent."""
    if not tables.trials.seconds.notna().any():
        return section("progress", "Progress", tag("p", "No trial has finished."))
    figure = figures.progress(
        tables.trials, tables.info.base_validation.score, _default_level(tables)
    )
    return section(
        "progress",
        "Progress over the budget",
        chart("progress-chart", figure, "Best validation score so far against trial time"),
        note(
            "Every mark is a trial, at the end of its time; trials are in the order they were "
            "proposed. Only trials at full length move the line: a partial score is no final one. "
            "Failed trials have no score and lie on the floor."
        ),
        *([note(f"Before the first trial: {tables.plan}.")] if tables.plan else []),
    )


def _default_level(tables: RunTables) -> float | None:
    if tables.summary and tables.summary.default:
        return tables.summary.default.validation
    tried = tables.trials[(tables.trials.origin == "default") & tables.trials.full_length]
    return float(tried.score.iloc[0]) if len(tried) else None


def trials(tables: RunTables, ordered: Sequence[str]) -> Html:
    """The table of trials, sortable.

    Args:
        tables: of the run.
        ordered: varied hyperparameters; the first few become columns.
    """
    if tables.trials.empty:
        return section("trials", "Trials", tag("p", "No trial has begun."))
    keys = list(ordered[:KEY_HYPERPARAMETERS])
    heads = ["trial", "origin", "length", "state", "score", "predicted final", "prior", "time"]
    best = tables.best_row
    rows = [_trial_cells(row, keys, tables.labels) for row in iter_rows(tables.trials)]
    marks = [
        "best" if best is not None and name == best.trial_id else ""
        for name in tables.trials.trial_id
    ]
    return section(
        "trials",
        "Trials",
        note(
            "Scores are of the validation split, ± one standard error; predictions are of the "
            "final score, ± one standard deviation. Click on a head to sort."
        ),
        table([*heads, *map(_breakable, keys), "settings"], rows, marks, sortable=True),
    )


def _breakable(name: str) -> Html:
    """A long name that may be broken after its underscores."""
    words = name.split("_")
    return join([words[0], *(part for word in words[1:] for part in ("_", tag("wbr"), word))])


def _trial_cells(row: Any, keys: Sequence[str], labels: Mapping[str, str]) -> list[object]:
    state = join([row.state, tag("small", row.reason) if row.reason else None])
    origin, *rest = origin_parts(row, labels)
    origin = join([origin, *(tag("small", each) for each in rest)])
    settings = [row.trial_id]
    settings += [f"{name} = {format_setting(value)}" for name, value in row.config.items()]
    return [
        Cell(tag("span", row.label, title=row.trial_id), row.trial_id),
        Cell(origin, row.origin),
        Cell(percent(row.fraction), float(row.fraction)),
        Cell(state, row.state),
        Cell(plus_minus(row.score, row.score_se), float(row.score)),
        Cell(plus_minus(row.predicted, row.predicted_sd), float(row.predicted)),
        Cell(format_number(row.prior), float(row.prior)),
        Cell(format_duration(row.seconds), float(row.seconds)),
        *(Cell(format_setting(row.config.get(key)), _key(row.config.get(key))) for key in keys),
        details("show", *(tag("div", tag("code", line)) for line in settings)),
    ]


def _key(value: object) -> float | str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else str(value)


def curves(tables: RunTables) -> Html:
    """The four curves with one legend."""
    points, rows = tables.curves, tables.trials
    if points.empty:
        return section("curves", "Curves", tag("p", "No step has been logged."))
    best = tables.best_row
    best_id = None if best is None else str(best.trial_id)
    shown = (
        ("score", "validation score", None),
        ("loss", "SFT loss", "sft"),
        ("reward", "RL reward", "rl"),
        ("kl", "KL to the SFT model", "rl"),
    )
    charts = []
    for metric, title, stage in shown:
        figure = figures_curves.curve(points, rows, metric, title, stage, best_id)
        if figure.data:
            charts.append(chart(f"curve-{metric}", figure, f"{title} against the step"))
        else:
            charts.append(note(f"No trial has logged the {title}."))
    return section(
        "curves",
        "Curves",
        note(
            "Lines are coloured by final score from orange (low) over mauve to blue (high), grey "
            "without one; the best is thick, the default dashed. Loss, reward and KL are means of "
            f"{figures_curves.SMOOTHING_STEPS} steps. In the validation score, circles are SFT and "
            "diamonds RL; marks on the floor, or a dotted line, say where RL begins. A trial that "
            "was continued is drawn by its continuation."
        ),
        _chips(tables),
        tag("div", *charts, class_="pairs"),
    )


def _chips(tables: RunTables) -> Html:
    hidden, colors = (
        figures.continued_trials(tables.trials),
        figures_curves.trial_colors(tables.trials),
    )
    drawn = set(tables.curves.trial_id) - hidden
    ordered = iter_rows(tables.trials.sort_values("final", ascending=False))
    chips = [
        tag(
            "button",
            tag("i", style=f"background:{colors[row.trial_id]}"),
            row.label,
            class_="chip",
            type="button",
            data_trial=row.trial_id,
            aria_pressed="true",
            title=f"{row.trial_id}, {row.origin}, final {format_number(row.final)}",
        )
        for row in ordered
        if row.trial_id in drawn
    ]
    both = [
        tag("button", text, class_="chip", type="button", data_all=value)
        for text, value in (("show all", "yes"), ("hide all", "no"))
    ]
    return join(
        [
            tag("div", *both, *chips, class_="chips"),
            note("Click on a trial to hide or show it, double-click to see it alone."),
        ]
    )


def prior(tables: RunTables) -> Html:
    """The offline opinion against what was observed."""
    rows = figures.observed_with_prior(tables.trials)
    title = "The ranker's prior against what was observed"
    if rows.empty or not tables.info.history.trials:
        text = "No trial has both a prior from the history and a score."
        if not tables.info.history.trials:
            text = "This run had no history to learn from, so there was no prior."
        return section("prior", title, tag("p", text))
    history = tables.info.history
    learned = (
        f"The prior comes from {pluralize(history.trials, 'trial')} on "
        f"{pluralize(history.datasets, 'dataset')}. "
    )
    if len(rows) >= 3:
        rho = spearman(list(rows.prior), list(rows.final))
        learned += (
            f"Rank correlation (Spearman) over {len(rows)} configurations: "
            f"ρ = {format_number(rho, 2)}. "
        )
    else:
        learned += "With fewer than 3 configurations a rank correlation says nothing. "
    return section(
        "prior",
        title,
        tag("p", learned),
        chart("prior-chart", figures.prior_against_observed(rows), title),
        note(
            "The search tries what the prior favours, so the configurations here are more alike "
            "than in the whole space, and the correlation is usually lower than it would be there."
        ),
    )


def space(tables: RunTables, varied: Mapping[str, Axis]) -> Html:
    """Parallel coordinates."""
    rows, title = figures_space.final_configurations(tables.trials), "Configurations"
    if len(rows) < 2 or not varied:
        text = "Two trials with a score and different settings are needed for this chart."
        return section("space", title, tag("p", text))
    left_out = len(tables.trials) - len(rows)
    figure = figures_space.parallel_coordinates(rows, varied)
    return section(
        "space",
        title,
        note(
            "One line for each configuration, coloured by its final score (at full length, else "
            "predicted). Drag along an axis to select, drag its name to move it. "
            f"Not drawn: {pluralize(left_out, 'trial')} without a score or continued by another "
            "one."
        ),
        chart("space-chart", figure, "Parallel coordinates", min_width=95 * (len(varied) + 1)),
    )


def trust_in(ranking: Importance) -> str:
    """How far the table of importances can be trusted."""
    text = (
        f"From a small model fitted to {ranking.trials} configurations of this run. For "
        f"configurations held out of the fit, its ranking agrees with the scores at "
        f"ρ = {format_number(ranking.skill, 2)} (Spearman). "
    )
    if not ranking.trusted:
        return text + "That is too weak to read anything into the bars."
    few = ranking.trials < 30
    return text + ("With so few trials, take the order as a hint." if few else "")


def importance(tables: RunTables, ranking: Importance | None) -> Html:
    """Hyperparameter importance, with how far it can be trusted."""
    title = "Hyperparameter importance"
    if ranking is None:
        found = len(figures_space.final_configurations(tables.trials))
        text = (
            f"Left out: it takes {MIN_TRIALS} configurations with different scores to say "
            f"anything, and this run has {found}."
        )
        return section("importance", title, tag("p", text))
    figure = figures_space.importance(ranking)
    return section(
        "importance",
        title,
        tag("p", trust_in(ranking)),
        chart("importance-chart", figure, title),
        note(
            "Permutation importance, as a share of the score's variance. Whiskers: standard "
            "deviation over shuffles."
        ),
    )


def cost(tables: RunTables) -> Html:
    """Time spent against every trial in full."""
    rows, summary = tables.trials, tables.summary
    if rows.fraction.notna().sum() == 0:
        return section("cost", "Cost", tag("p", "No trial has finished."))
    if summary is None:
        saved = tag("p", "What was saved is estimated at the end of the run.")
    else:
        spent, full = summary.trial_seconds, summary.full_cost_seconds
        text = f"The trials took {format_duration(spent)}; in full they would have taken about "
        text += f"{format_duration(full)}"
        text += f": {percent(1 - spent / full)} saved." if full > spent else ": nothing was saved."
        figure = figures.cost(spent, full)
        saved = join([tag("p", text), chart("cost-chart", figure, "Time spent and saved")])
    return section(
        "cost",
        "Cost saved by stopping early",
        saved,
        tag("h3", "How far each trial ran"),
        chart("fractions-chart", figures.fractions(rows), "Share of full length of each trial"),
    )


def stops(tables: RunTables) -> Html:
    """Stopped, failed and unfinished trials with what they left behind."""
    blocks = []
    for trial in tables.records:
        name, result = trial.spec.trial_id, trial.result
        if result is None:
            blocks.append(tag("p", tag("b", name), f" is {UNFINISHED}: it has left no result yet."))
        elif result.failure:
            failure = result.failure
            blocks.append(
                details(
                    join([tag("b", name), f" failed: {failure.kind}"]),
                    tag("p", failure.message),
                    tag("pre", failure.log_tail) if failure.log_tail else note("No log was kept."),
                )
            )
        elif result.stop:
            stop = result.stop
            values = ", ".join(
                f"{key} = {format_setting(value)}" for key, value in stop.values.items()
            )
            head = join([tag("b", name), f" was stopped by {stop.rule} at step {stop.step}"])
            blocks.append(details(head, tag("p", values)))
    if not blocks:
        blocks = [tag("p", "None." if tables.records else "No trial has begun.")]
    return section("stops", "Stops and failures", *blocks)
