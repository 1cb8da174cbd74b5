"""Run folders as a tune run leaves them, written through the records themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from tasks.config.settings import Budget, TuneSettings
from tasks.inputs.spaces import load_space, plain_values
from tasks.runs.folder import (
    DatasetInfo,
    HistoryInfo,
    LevelRecord,
    ModelScores,
    ProposalRecord,
    ProxyInfo,
    RunFolder,
    RunInfo,
    Summary,
)
from trials.spec.events import EventLog
from trials.spec.records import (
    Cost,
    CurvePoint,
    Failure,
    Fidelity,
    SplitScore,
    Stop,
    TrialResult,
    TrialSpec,
    write_json,
)

MakeRun = Callable[..., RunFolder]
TOTAL_STEPS = 60
# Of each trial: origin, the fraction it was asked for, how it ends, and whom it continues.
PLAN = (
    ("default", 1.0, "completed", None),
    ("new", 0.3, "completed", None),
    ("new", 0.3, "completed", None),
    ("new", 1.0, "completed", None),
    ("new", 0.3, "failed", None),
    ("new", 0.3, "completed", None),
    ("continue", 1.0, "completed", 1),
    ("new", 0.5, "stopped", None),
    ("new", 0.3, "completed", None),
    ("new", 0.5, "completed", None),
    ("finalist", 1.0, "completed", None),
    ("new", 0.3, "completed", None),
)
LOG_TAIL = 'Traceback (most recent call last):\n  File <b>"run.py"</b>\nMemoryError: & no more'


def trial_id(index: int) -> str:
    return f"t{index:03d}"


def final_score(config: dict[str, Any]) -> float:
    """A landscape in which the learning rates decide, and LoRA costs a little."""
    rl = math.log10(config["rl_learning_rate"] / 3e-4)
    sft = math.log10(config["sft_learning_rate"] / 3e-3)
    lora = 0.08 * (config["adapter"] == "lora")
    return float(np.clip(0.8 - 0.12 * rl**2 - 0.15 * sft**2 - lora, 0.02, 0.98))


def curve_points(config: dict[str, Any], fraction: float, seed: int) -> list[CurvePoint]:
    """SFT loss, RL reward and KL at every step, and validation scores at five points."""
    noise = np.random.default_rng(seed)
    sft_steps = round(config["sft_share"] * TOTAL_STEPS)
    end, final = round(fraction * TOTAL_STEPS), final_score(config)
    points = []
    for step in range(1, end + 1):
        if step <= sft_steps:
            values = {"loss": 0.4 + 5 * math.exp(-6 * final * step / sft_steps)}
            values["loss"] += 0.1 * noise.normal()
        else:
            share = (step - sft_steps) / max(1, TOTAL_STEPS - sft_steps)
            values = {
                "reward": float(np.clip(final * (0.5 + 0.5 * share) + 0.07 * noise.normal(), 0, 1)),
                "kl": 0.5 * share * config["rl_learning_rate"] / 1e-4,
            }
        if step in {round(f * TOTAL_STEPS) for f in (0.1, 0.2, 0.3, 0.5, 1.0)} | {end}:
            values["score"] = final * (1 - math.exp(-4 * step / TOTAL_STEPS))
        stage = "sft" if step <= sft_steps else "rl"
        points += [
            CurvePoint(stage=stage, step=step, metric=metric, value=value)
            for metric, value in values.items()
        ]
    return points


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run: ``make_run(trials=12, finished=True, dataset="add", **of_the_summary)``."""
    return partial(write_run, tmp_path / "runs" / "run-1")


def write_run(
    folder: Path,
    trials: int = len(PLAN),
    finished: bool = True,
    dataset: str = "add",
    **changes: Any,
) -> RunFolder:
    run = RunFolder(folder)
    space = load_space("sft_grpo")
    run.write_info(_info(space, dataset))
    configs = _configs(space)[:trials]
    for index, config in enumerate(configs):
        _write_trial(run, index, config, unfinished=not finished and index == trials - 1)
    run.write_observations(_observations(run))
    if finished:
        run.write_summary(_summary(configs).model_copy(update=changes))
        for name in ("sft.yaml", "grpo.yaml", "model/config.json"):
            file = run.path / "best" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    return run


def on_proxy(run: RunFolder, *names: str, left: str | None = None) -> RunFolder:
    """Rewrites a run's records as if these trials had run on a smaller model, ``tiny-s``."""
    proxy = ProxyInfo(model="tiny-s", path="models/tiny-s", parameters=100_000, meta={})
    run.write_info(run.info().model_copy(update={"proxies": [proxy]}))
    for trial in run.trials():
        if (spec := trial.spec).trial_id in names:
            fidelity = spec.fidelity.model_copy(update={"model": proxy.path})
            write_json(trial.folder / "spec.json", spec.model_copy(update={"fidelity": fidelity}))
    for proposal in run.proposals():
        if proposal.trial_id in names:
            run.add_proposal(proposal.model_copy(update={"model": proxy.model}))
    level = LevelRecord(
        model=proxy.model,
        trials=len(names),
        past=7,
        cost=0.4,
        correlation=0.62,
        low=0.35,
        high=0.81,
        left=left,
    )
    run.write_observations(run.observations(), [level])
    return run


def _info(space: ConfigurationSpace, dataset: str) -> RunInfo:
    return RunInfo(
        run_id="run-1",
        created="2026-03-01T09:30:00+00:00",
        settings=TuneSettings(
            dataset="add", model="tiny-m", budget=Budget.parse("25m"), seed=3, test_rows=300
        ),
        dataset=DatasetInfo(
            name=dataset,
            path="datasets/add",
            fingerprint="4ef8ed917323cddb",
            reward="numeric",
            reward_inferred=True,
            rows={"train": 2000, "validation": 200, "test": 400},
        ),
        model="models/tiny-m",
        model_parameters=460_000,
        space=space.to_serialized_dict(),
        meta={"log_rows": 3.3, "base_score": 0.02},
        base_validation=SplitScore(score=0.02, score_se=0.01, rows=160, outcomes=[0.0, 1.0]),
        history=HistoryInfo(files=["a.parquet", "b.parquet"], trials=240, datasets=8),
        versions={"python": "3.11.7", "trl": "1.16.0"},
        git_commit="719d16a",
    )


def _configs(space: ConfigurationSpace) -> list[dict[str, Any]]:
    space.seed(1)
    drawn = [plain_values(c) for c in space.sample_configuration(len(PLAN))]
    drawn[0] = plain_values(space.get_default_configuration())
    drawn[6] = drawn[1]
    return drawn


def _write_trial(run: RunFolder, index: int, config: dict[str, Any], unfinished: bool) -> None:
    origin, fraction, state, parent = PLAN[index]
    name, folder = trial_id(index), run.trial_folder(trial_id(index))
    continues = None if parent is None else trial_id(parent)
    spec = TrialSpec(
        trial_id=name,
        dataset="datasets/add",
        dataset_fingerprint="4ef8ed917323cddb",
        config=config,
        fidelity=Fidelity(model="models/tiny-m", fraction=fraction),
        folder=str(folder),
        continue_from=continues and str(run.trial_folder(continues) / "checkpoint" / "step-000030"),
    )
    write_json(folder / "spec.json", spec)
    run.add_proposal(
        ProposalRecord(
            order=index,
            trial_id=name,
            proposal_id=f"{index + 1:04d}",
            origin=origin,
            continues=continues,
            fraction=fraction,
            config=config,
            prior_score=final_score(config) + 0.1 * math.sin(index),
            expected_score=final_score(config) + 0.05,
            expected_score_sd=0.08,
            expected_cost=fraction,
            failure_probability=0.02,
        )
    )
    reached = 0.4 if state == "stopped" else fraction
    points = curve_points(config, reached, seed=index)
    if unfinished:
        log = EventLog(folder / "events.jsonl")
        for point in points:
            log.write(
                "metric", stage=point.stage, step=point.step, values={point.metric: point.value}
            )
        log.close()
    else:
        write_json(folder / "result.json", _result(name, state, reached, points, index))


def _result(
    name: str, state: str, fraction: float, points: list[CurvePoint], index: int
) -> TrialResult:
    cost = Cost(seconds=20 + 80 * fraction)
    if state == "failed":
        failure = Failure(kind="out_of_memory", message="MemoryError: a < b", log_tail=LOG_TAIL)
        return TrialResult(trial_id=name, state="failed", fraction=0.1, failure=failure, cost=cost)
    stop = Stop(rule="kl_growth", step=24, values={"kl": 3.2, "previous": 2.1})
    return TrialResult(
        trial_id=name,
        state="stopped" if state == "stopped" else "completed",
        fraction=fraction,
        score=[p.value for p in points if p.metric == "score"][-1],
        score_se=0.035,
        curve=points,
        cost=cost,
        stop=stop if state == "stopped" else None,
    )


def _observations(run: RunFolder) -> list[dict[str, Any]]:
    """The search predicts every configuration, whatever became of its trial."""
    return [
        {
            "trial_id": trial.spec.trial_id,
            "predicted": final_score(trial.spec.config) + 0.02,
            "predicted_sd": 0.06,
            "prior_score": 0.8 * final_score(trial.spec.config) + 0.05 * math.sin(index),
        }
        for index, trial in enumerate(run.trials())
        if trial.result
    ]


def _summary(configs: list[dict[str, Any]]) -> Summary:
    def measured(index: int, test: float) -> ModelScores:
        return ModelScores(
            trial_id=trial_id(index),
            config=configs[index],
            validation=final_score(configs[index]),
            validation_se=0.035,
            test=test,
            test_se=0.023,
        )

    base = ModelScores(
        trial_id=None, config=None, validation=0.02, validation_se=0.01, test=0.03, test_se=0.01
    )
    return Summary(
        best=measured(min(10, len(configs) - 1), 0.712),
        default=measured(0, 0.604),
        base=base,
        best_expected=0.74,
        best_expected_se=0.03,
        trials=len(configs),
        failed=1,
        full_length=4,
        elapsed_seconds=1010.0,
        trial_seconds=760.0,
        full_cost_seconds=1220.0,
        paired_gain=0.108,
        paired_gain_se=0.021,
    )
