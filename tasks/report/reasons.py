"""Why each trial was chosen: what the search believed at the moment it proposed it."""

from __future__ import annotations

import math

from tasks.report.page import Cell, Html, note, section, table, tag
from tasks.runs.folder import ProposalRecord
from tasks.runs.formatting import format_number, percent, plus_minus
from tasks.runs.tables import RunTables

HEADS = (
    "trial", "origin", "ranker expected", "own trials changed", "expected final",
    "chance of failure", "expected cost", "became",
)  # fmt: skip


def reasons(tables: RunTables) -> Html:
    """One row a trial: what it was expected to give and to cost, in parts, and what it gave."""
    title = "Why each trial was chosen"
    believed = [p for p in tables.proposals if p.expected_score is not None]
    if not believed:
        text = "The search made no forecast: it had neither a history nor a score to go by."
        return section("reasons", title, tag("p", text))
    finals = dict(zip(tables.trials.trial_id, tables.trials.final, strict=True))
    return section(
        "reasons",
        title,
        note(
            "As the search saw it when it proposed the trial, so before its score. What the ranker "
            "expected from past datasets, on this dataset's scale, and what the trials of this run "
            "changed about it make the expected final score, ± one standard deviation. The cost is "
            "what was left to run, in full-length trials of the default configuration."
        ),
        table(HEADS, [_cells(p, tables.labels, finals) for p in believed], sortable=True),
    )


def _cells(p: ProposalRecord, labels: dict[str, str], finals: dict[str, float]) -> list[object]:
    """A row; a forecast that is not known, and a trial that has no record yet, leave dashes."""
    expected, sd = _known(p.expected_score), _known(p.expected_score_sd)
    prior, became = _known(p.prior_score), finals.get(p.trial_id, math.nan)
    failure, cost = _known(p.failure_probability), _known(p.expected_cost)
    changed = expected - prior
    return [
        Cell(tag("span", labels.get(p.trial_id, p.trial_id), title=p.trial_id), p.trial_id),
        Cell(p.origin, p.origin),
        Cell(format_number(prior), prior),
        Cell(plus_minus(changed, None, signed=True), changed),
        Cell(plus_minus(expected, sd), expected),
        Cell(percent(failure), failure),
        Cell(format_number(cost, 2), cost),
        Cell(format_number(became), became),
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
