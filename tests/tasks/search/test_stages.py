"""What the search is told of stages is what decides which checkpoints trials share."""

from __future__ import annotations

import itertools

import pytest

from surrogates.space.encoding import SpaceEncoder
from surrogates.space.stages import SharedStages
from tasks.inputs.spaces import load_space, plain_values
from tasks.search.stages import stages_of
from trials.checkpoints.entries import stage_keys
from trials.spec.hyperparameters import validate
from trials.spec.plan import plan_steps
from trials.spec.records import Fidelity, Schedule, TrialSpec

ROWS, PAIRS = 1000, 200


def keys(config: dict, schedule: Schedule) -> dict[str, str]:
    spec = TrialSpec(
        trial_id="t", dataset="d", dataset_fingerprint="f", config=config, folder="t",
        fidelity=Fidelity(model="m", fraction=1.0), schedule=schedule,
    )  # fmt: skip
    h = validate(config)
    return stage_keys(spec, h, plan_steps(h, schedule, ROWS, PAIRS))


@pytest.mark.parametrize("name", ["sft_grpo", "sft_dpo_grpo", "wide"])
def test_runs_begin_alike_just_as_far_as_trials_share_checkpoints(name: str) -> None:
    """Of neighbours in one setting each, and of those that differ in a setting never used."""
    space, schedule = load_space(name), Schedule(total_steps=90)
    encoder = SpaceEncoder(space)
    stages = stages_of(schedule, ROWS, PAIRS)
    base, *others = [encoder.normalise(plain_values(c)) for c in encoder.sample(12, 0)]
    neighbours = [
        encoder.activate(base | {n: other[n]})
        for other, n in itertools.product(others[:4], encoder.names)
        if n in other and n in base
    ]
    found = 0
    for config in [base, *others, *neighbours]:
        told = {stage.key for stage in stages(config)}
        mine, theirs = keys(config, schedule), keys(base, schedule)
        shared = [stage for stage in mine if mine[stage] == theirs.get(stage)]
        assert len(told & {stage.key for stage in stages(base)}) == len(shared)
        found += 0 < len(shared) < len(mine)
    assert found > 3


def test_a_stage_ends_where_its_last_step_is_the_last_of_the_trial() -> None:
    schedule = Schedule(total_steps=37)
    for share in (0.3, 0.5, 0.86):
        config = {"sft_share": share}
        plan = plan_steps(validate(config), schedule, ROWS, 0)
        first, last = stages_of(schedule, ROWS, 0)(config)
        assert last.end == 1.0
        assert "rl_learning_rate" in last.names - first.names
        assert {"sft_share", "sft_learning_rate", "rl_steps"} <= first.names
        for fraction in (number / 200 for number in range(1, 201)):
            assert (plan.last_step(fraction) <= plan.sft) == (fraction <= first.end)


def test_a_run_of_sft_alone_is_one_whatever_rl_would_be() -> None:
    stages = stages_of(Schedule(), ROWS, 0)
    alone = {"sft_share": 1.0, "rl_learning_rate": 1e-5}
    beginnings = SharedStages(SpaceEncoder(load_space("sft_grpo")), stages)
    other = alone | {"rl_learning_rate": 1e-3}
    assert beginnings.shared_fraction([other], [(alone, 1.0)]) == [1.0]


def test_what_a_trial_would_refuse_is_like_no_other() -> None:
    [stage] = stages_of(Schedule(), ROWS, 0)({"rl_batch_size": 7})
    [other] = stages_of(Schedule(), ROWS, 0)({"rl_batch_size": 9})
    assert stage.end == 1.0
    assert stage.key != other.key
