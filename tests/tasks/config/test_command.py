"""The command that repeats a run."""

from __future__ import annotations

import re

import pytest

from tasks.config.command import beyond_options, reproduce_command
from tasks.config.settings import Budget, TuneSettings
from trials.spec.records import Schedule, StoppingRules


def test_the_command_names_what_is_no_default() -> None:
    settings = TuneSettings(
        dataset="my data.jsonl",
        model="m",
        budget=Budget.parse("8 full"),
        early_stopping=False,
        retries=3,
        schedule=Schedule(total_steps=60, eval_points=(0.5, 1.0)),
        stopping=StoppingRules(kl_patience=9),
    )
    assert reproduce_command(settings) == (
        "autopipe tune 'my data.jsonl' --model m --budget '8 full' --parallel 2 --seed 0 "
        "--steps 60 --no-early-stopping"
    )
    assert beyond_options(settings) == ["retries", "schedule.eval_points", "stopping.kl_patience"]


@pytest.mark.parametrize("text", ["25m", "1h30m", "12", "8 full", "1.5 full"])
def test_the_budget_in_the_command_is_the_budget(text: str) -> None:
    budget = Budget.parse(text)
    command = reproduce_command(TuneSettings(dataset="d", model="m", budget=budget))
    written = re.search(r"--budget ('[^']+'|\S+)", command)
    assert written is not None
    assert Budget.parse(written[1].strip("'")) == budget
