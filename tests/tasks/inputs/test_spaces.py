"""Search spaces: the bundled ones are legal, and an illegal one is refused with all problems."""

from typing import get_args

import pytest
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter

from tasks.config.paths import SPACES
from tasks.inputs.spaces import load_space, plain_values
from trials.io.errors import HyperparameterError, SettingsError
from trials.spec.hyperparameters import Hyperparameters, RLCurriculum, RLLoss, SFTSchedule, validate
from trials.spec.plan import plan_steps
from trials.spec.records import Schedule


@pytest.mark.parametrize("name", sorted(file.stem for file in SPACES.glob("*.yaml")))
def test_every_bundled_space_proposes_only_what_a_trial_accepts(name):
    space = load_space(name)
    assert len(space) >= 12
    space.seed(3)
    for configuration in space.sample_configuration(200):
        validate(plain_values(configuration))


def test_the_first_space_covers_both_stages_and_their_split():
    space = load_space("sft_grpo")
    assert 12 <= len(space) <= 16
    assert "sft_share" in space
    assert any(name.startswith("rl_") for name in space)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("sft", {("sft",)}),
        ("grpo", {("rl",)}),
        ("sft_grpo", {("sft", "rl")}),
        ("sft_dpo_grpo", {("sft", "dpo", "rl")}),
        ("wide", {("sft", "rl")}),
    ],
)
def test_a_space_runs_the_stages_of_its_name(name, stages):
    space = load_space(name)
    space.seed(5)
    configurations = [space.get_default_configuration(), *space.sample_configuration(100)]
    plans = [
        plan_steps(validate(plain_values(found)), Schedule(), rows=500, pairs=100)
        for found in configurations
    ]
    assert {plan.stages for plan in plans} == stages


def test_the_wide_space_reaches_every_choice_that_is_not_of_dpo_or_of_lengths():
    space = load_space("wide")
    left_out = {name for name in Hyperparameters.model_fields if name not in space}
    lengths = {f"{stage}_{way}" for stage in ("sft", "dpo", "rl") for way in ("steps", "epochs")}
    dpo = {name for name in Hyperparameters.model_fields if name.startswith("dpo_")}
    # How many of a group's completions are trained on, and more of them for some prompts, have a
    # meaning in some combinations only; a share of few rows may be less than a batch.
    rollouts = {"rl_allocation", "rl_train_generations", "sft_rows_share"}
    assert left_out == lengths | dpo | rollouts | {"rl_top_k", "rl_max_completion_tokens"}
    space.seed(7)
    found = [validate(plain_values(one)) for one in space.sample_configuration(400)]
    kinds = {"rl_loss_type": RLLoss, "sft_schedule": SFTSchedule, "rl_curriculum": RLCurriculum}
    for field, kind in kinds.items():
        assert {getattr(h, field) for h in found} == set(get_args(kind))
    assert {h.sampling_level for h in found if h.rl_loss_type == "grpo"} == {"token", "sequence"}
    assert all(h.clip_range[0] < 0.01 for h in found if h.sampling_level == "sequence")


def test_unknown_and_illegal_hyperparameters_are_refused_at_once(tmp_path):
    space = ConfigurationSpace({"sft_lerning_rate": (1e-5, 1e-2)})
    space.add(OrdinalHyperparameter("rl_batch_size", [7, 9]))
    space.to_yaml(tmp_path / "bad.yaml")
    with pytest.raises(HyperparameterError) as caught:
        load_space(str(tmp_path / "bad.yaml"))
    text = str(caught.value)
    assert "did you mean 'sft_learning_rate'" in text
    assert "rl_batch_size=9" in text
    assert "rl_num_generations=8" in text


def test_a_missing_or_broken_file_names_what_there_is(tmp_path):
    with pytest.raises(SettingsError, match="sft_grpo"):
        load_space("no_such_space")
    (tmp_path / "x.yaml").write_text("just: text")
    with pytest.raises(SettingsError, match="not a ConfigSpace file"):
        load_space(str(tmp_path / "x.yaml"))
