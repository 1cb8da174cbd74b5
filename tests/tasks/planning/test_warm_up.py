"""The warm-up: real steps in a real worker, few of them, and what they say about a trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.settings import Budget, TuneSettings
from tasks.inputs.prepare import check_inputs
from tasks.inputs.spaces import load_space, plain_values
from tasks.planning.warm_up import SMALL_STEPS, _Measured, _ShortTrial, warm_up
from tasks.runs.folder import RunFolder
from tests.trials.helpers import TINY, write_dataset
from trials.io.errors import AutoPipeError
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.events import Event
from trials.spec.records import Failure, Schedule, TrialResult, read_record

SIZES = {"train": 40, "validation": 30, "test": 12}


def test_a_few_steps_say_what_a_trial_costs(tmp_path: Path, real_worker: Supervisor) -> None:
    schedule = Schedule(total_steps=40, eval_rows=24, max_completion_tokens=4)
    settings = TuneSettings(
        dataset=str(write_dataset(tmp_path / "data", sizes=SIZES)),
        model=str(TINY),
        schedule=schedule,
        budget=Budget.parse("5m"),
    )
    config = plain_values(load_space("sft_grpo").get_default_configuration())
    inputs = check_inputs(settings.dataset, settings.model, schedule)
    run = RunFolder(tmp_path / "run")
    costs = warm_up.fn(settings, run, inputs, config, real_worker, lambda: 12.0)
    assert costs is not None
    assert costs.start_up == 12.0
    assert min(costs.pace.sft_step, costs.pace.rl_step, costs.pace.scoring, costs.pace.loading) > 0
    # So small a model is measured with the batches of the configuration, on all rows.
    assert costs.scored_rows == 24
    assert costs.trial(schedule) > 40 * min(costs.pace.sft_step, costs.pace.rl_step)
    # Nothing is left of it but what it wrote.
    assert not list(run.path.rglob("*.safetensors"))


@pytest.mark.slow
def test_data_that_no_trial_can_use_end_the_run_here(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", sizes=SIZES)
    schedule = Schedule(total_steps=40, eval_rows=8, max_length=8)
    settings = TuneSettings(dataset=str(data), model=str(TINY), schedule=schedule)
    config = plain_values(load_space("sft_grpo").get_default_configuration())
    inputs = check_inputs(settings.dataset, settings.model, schedule)
    run = RunFolder(tmp_path / "run")
    with Supervisor(Launcher()) as supervisor, pytest.raises(AutoPipeError, match="--max-length"):
        warm_up.fn(settings, run, inputs, config, supervisor, lambda: 0.0)
    [result] = run.path.rglob("result.json")
    assert read_record(result, TrialResult).failure is not None


def short_trial(tmp_path: Path, **config: object) -> _ShortTrial:
    settings = TuneSettings(
        dataset=str(write_dataset(tmp_path / "data", sizes=SIZES)), model=str(TINY)
    )
    inputs = check_inputs(settings.dataset, settings.model, settings.schedule)
    return _ShortTrial(
        settings, RunFolder(tmp_path / "run"), inputs, config, 1, Supervisor(Launcher())
    )


def step(seconds: float, number: int) -> Event:
    return {"kind": "metric", "seconds": seconds, "stage": "sft", "step": number, "tokens": 300}


# The smallest trial of a real model on a slow machine, up to its scoring.
SLOW = [
    {"kind": "phase", "seconds": 0.0, "phase": "loading"},
    {"kind": "facts", "seconds": 5.0, "completion_tokens": {"limit": 120, "most": 80}},
    {"kind": "phase", "seconds": 5.0, "phase": "preparing sft"},
    {"kind": "phase", "seconds": 9.0, "phase": "sft"},
    step(24.0, 1),  # the first step of a process does much that others do not
    step(26.0, 2),
    step(28.0, 3),
]
SCORED = {
    "kind": "score",
    "seconds": 33.1,
    "took": 5.1,
    "generation": {"rows": 8.0, "width": 280.0, "prefill": 3.5, "per_token": 0.1},
}


def measured(events: list[Event], kind: str | None = None) -> _Measured:
    failure = Failure(kind=kind, message="its time was over") if kind else None
    result = TrialResult(
        trial_id="small", state="failed" if kind else "completed", fraction=1.0, failure=failure
    )
    return _Measured(events, result, rows=8, tokens=16, full=False)


def test_a_step_of_rl_is_made_of_what_was_measured(tmp_path: Path) -> None:
    trial = short_trial(tmp_path, sft_batch_size=4, rl_batch_size=8, rl_num_generations=8)
    costs = trial.costs(measured([*SLOW, SCORED]), start_up=50.0)
    assert costs is not None
    at_limit = costs.pace_of(Schedule())
    # Rows of 2 s by themselves, padded in a batch; the first step does not count.
    assert at_limit.sft_step == pytest.approx(4 * 2.0, rel=0.3)
    # Generating 120 tokens takes 3.5 s + 120 x 0.1 s; 8 x 400 tokens are trained on at 300 in 2 s.
    generating, training = 3.5 + 120 * 0.1, 8 * 400 / 150
    assert generating + training < at_limit.rl_step < 2 * (generating + training)
    row = costs.row(Schedule())
    assert row == pytest.approx(5.1 / 8 + (120 - 16) * 0.1 / 8)
    shorter = Schedule(max_completion_tokens=60)
    assert costs.pace_of(shorter).rl_step < at_limit.rl_step
    assert costs.row(shorter) < row
    assert costs.completions.shorter(Schedule()) == [90, 80]


def test_what_there_was_no_time_for_follows_from_training(tmp_path: Path) -> None:
    """A refusal can then still offer a command, on however slow a machine."""
    trial = short_trial(tmp_path, rl_batch_size=8, rl_num_generations=8)
    guessed = trial.costs(measured(SLOW, "timed_out"), start_up=50.0)
    known = trial.costs(measured([*SLOW, SCORED]), start_up=50.0)
    assert guessed is not None
    assert known is not None
    # Not far from what is measured on a processor, and no less.
    assert 1 < guessed.row(Schedule()) / known.row(Schedule()) < 3
    assert 1 < guessed.pace_of(Schedule()).rl_step / known.pace_of(Schedule()).rl_step < 3
    assert trial.costs(measured(SLOW[:4], "timed_out"), start_up=50.0) is None
    assert trial.costs(measured(SLOW, "diverged"), start_up=50.0) is None


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("2m", 24.0), ("13m", 25.0), ("30m", 25.0), ("10h", 360.0), ("12", 25.0)],
)
def test_a_refusal_comes_soon_and_a_long_run_takes_time_to_measure(
    tmp_path: Path, budget: str, seconds: float
) -> None:
    trial = short_trial(tmp_path)
    settings = trial.settings.model_copy(update={"budget": Budget.parse(budget)})
    assert replace(trial, settings=settings).limit == pytest.approx(seconds)


def test_a_model_that_only_rl_trains_is_measured_by_a_few_steps_of_sft(tmp_path: Path) -> None:
    trial = short_trial(tmp_path, sft_share=0.0, rl_batch_size=8, rl_num_generations=8)
    assert trial._smallest()["sft_steps"] == SMALL_STEPS
    costs = trial.costs(measured([*SLOW, SCORED]), start_up=50.0)
    assert costs is not None
    assert costs.pace.sft_step == 0.0
    assert costs.pace.rl_step > 0
