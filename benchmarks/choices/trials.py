"""The trials behind the comparison: real ones, one after another in each process."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.choices.variants import GROUPS
from benchmarks.tune_runs import bundled_files
from surrogates.space.encoding import PREFIX
from tasks.config.paths import ROOT
from tasks.history.rows import read_history
from tasks.inputs.catalog import resolve_dataset, resolve_model
from tasks.inputs.spaces import plain_values
from trials.data.dataset import fingerprint
from trials.io.atomic import write_text
from trials.io.hashing import content_hash
from trials.spec.kinds import TrialState
from trials.spec.records import Fidelity, Schedule, TrialSpec
from trials.training.run import run_trial

RESULTS = ROOT / "benchmarks" / "results" / "choices"
EVAL_ROWS = 512
CURVES = ("groups_without_spread", "prompt_coverage")  # whose means over a trial are kept


@dataclass(frozen=True)
class Job:
    """One trial: a variant on one of the best configurations of a dataset, with a seed."""

    group: str
    variant: str
    dataset: str
    model: str
    place: int
    """Of the configuration among the best ones, from 0."""
    seed: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.dataset}, configuration {self.place}, seed {self.seed}"

    def config(self) -> dict[str, Any]:
        """The configuration of the trial."""
        group = GROUPS[self.group]
        base = best_configs(self.dataset, self.model)[self.place]
        kept = {k: v for k, v in base.items() if not k.startswith(group.drops)}
        return kept | dict(group.fixed) | dict(group.variants[self.variant].changes)

    def file(self, results: Path) -> Path:
        """Where its outcome is kept; other settings are another file."""
        content = {"config": self.config(), "steps": GROUPS[self.group].steps, "rows": EVAL_ROWS}
        name = f"{self.variant}.{self.dataset}.{self.model}.{self.place}.{self.seed}"
        digest = content_hash(json.dumps(content, sort_keys=True, default=str))
        return results / self.group / f"{name.replace(' ', '-')}.{digest[:8]}.json"


@cache
def best_configs(dataset: str, model: str) -> list[dict[str, Any]]:
    """Configurations of the bundled history on a dataset, the best first."""
    rows = read_history(bundled_files())
    own = rows[(rows.dataset_id == dataset) & (rows.model_id == model) & (rows.fraction >= 1.0)]
    own = own[own.state == "completed"].sort_values("score", ascending=False, kind="stable")
    names = [column for column in own.columns if str(column).startswith(PREFIX)]
    return [
        plain_values({name.removeprefix(PREFIX): row[name] for name in names})
        for row in own.to_dict("records")
    ]


def run_job(results: Path, job: Job) -> int:
    """Trains a trial and keeps its outcome; returns 1, the number of trials."""
    with tempfile.TemporaryDirectory(prefix="choices-") as folder:
        scratch = Path(folder)
        data = resolve_dataset(job.dataset, scratch / "datasets")
        schedule = Schedule(
            total_steps=GROUPS[job.group].steps, eval_rows=EVAL_ROWS, eval_points=(1.0,)
        )
        spec = TrialSpec(
            trial_id="trial",
            dataset=str(data),
            dataset_fingerprint=fingerprint(data),
            config=job.config(),
            fidelity=Fidelity(model=str(resolve_model(job.model)), fraction=1.0),
            folder=str(scratch / "trial"),
            schedule=schedule,
            seed=job.seed,
            keep_checkpoint=False,
        )
        result = run_trial(spec)
    if result.state == TrialState.FAILED:
        raise RuntimeError(f"{job}: {result.failure}")
    curve = {name: [p.value for p in result.curve if p.metric == name] for name in CURVES}
    outcome = {
        "score": result.score,
        "outcomes": result.outcomes,
        "state": result.state.value,
        "flops": result.cost.flops,
        "seconds": result.cost.seconds,
        **{name: sum(values) / len(values) for name, values in curve.items() if values},
    }
    write_text(job.file(results), json.dumps(outcome))
    return 1


def missing(results: Path, jobs: Sequence[Job]) -> list[Job]:
    """Jobs without an outcome."""
    return [job for job in jobs if not job.file(results).exists()]
