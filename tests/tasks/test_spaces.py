"""Search spaces: the bundled ones are legal, and an illegal one is refused with all problems."""

import pytest
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter

from tasks.paths import SPACES
from tasks.spaces import load_space, plain
from trials.errors import HyperparameterError, SettingsError
from trials.hyperparameters import validate


@pytest.mark.parametrize("name", sorted(file.stem for file in SPACES.glob("*.yaml")))
def test_every_bundled_space_proposes_only_what_a_trial_accepts(name):
    space = load_space(name)
    assert len(space) >= 12
    space.seed(3)
    for configuration in space.sample_configuration(200):
        validate(plain(configuration))


def test_the_first_space_covers_both_stages_and_their_split():
    space = load_space("sft_grpo")
    assert 12 <= len(space) <= 16
    assert "sft_share" in space
    assert any(name.startswith("rl_") for name in space)


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
    with pytest.raises(SettingsError, match="no ConfigSpace file"):
        load_space(str(tmp_path / "x.yaml"))
