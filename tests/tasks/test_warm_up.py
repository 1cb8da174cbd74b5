"""The warm-up: real steps in a real worker, few of them, and what they say about a trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.prepare import found
from tasks.run_folder import RunFolder
from tasks.settings import Budget, TuneSettings
from tasks.spaces import load_space, plain
from tasks.warm_up import _filled, warm_up
from tests.trials.helpers import TINY, write_dataset
from trials.errors import AutoPipeError
from trials.launch import Launcher
from trials.plan import StagePlan
from trials.records import Pace, Schedule, TrialResult, read_record
from trials.supervisor import Supervisor

SIZES = {"train": 40, "validation": 30, "test": 12}


def test_a_few_steps_say_what_a_trial_costs(tmp_path: Path) -> None:
    schedule = Schedule(total_steps=40, eval_rows=24, max_completion_tokens=4)
    settings = TuneSettings(
        dataset=str(write_dataset(tmp_path / "data", sizes=SIZES)),
        model=str(TINY),
        schedule=schedule,
        budget=Budget.parse("5m"),
    )
    config = plain(load_space("sft_grpo").get_default_configuration())
    inputs = found(settings.dataset, settings.model, schedule)
    run = RunFolder(tmp_path / "run")
    with Supervisor(Launcher()) as supervisor:
        costs = warm_up.fn(settings, run, inputs, config, supervisor, lambda: 12.0)
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
    config = plain(load_space("sft_grpo").get_default_configuration())
    inputs = found(settings.dataset, settings.model, schedule)
    run = RunFolder(tmp_path / "run")
    with (
        Supervisor(Launcher()) as supervisor,
        pytest.raises(AutoPipeError, match="--max-length"),
    ):
        warm_up.fn(settings, run, inputs, config, supervisor, lambda: 0.0)
    [result] = run.path.rglob("result.json")
    assert read_record(result, TrialResult).failure is not None


def test_what_there_was_no_time_for_follows_from_the_first_stage() -> None:
    """A refusal can then still offer a command, on however slow a machine."""
    plan = StagePlan(sft=50, dpo=0, rl=50)
    found = _filled(Pace(loading=8.0, starting=12.0, sft_step=30.0), plan)
    assert found.rl_step > found.sft_step == 30.0
    assert found.scoring > 0
    assert found.dpo_step == 0
    assert _filled(Pace(loading=8.0), plan) == Pace(loading=8.0)
