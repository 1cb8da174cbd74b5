"""The space that is made for a model and its data, and spaces that do not fit a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace, Constant, Float
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.space.rate_rule import RateRange
from tasks.config.settings import CollectSettings, TuneSettings
from tasks.inputs import auto_space as module
from tasks.inputs.auto_space import (
    AUTO,
    KEPT,
    LEAST_PAIRS,
    TOO_HIGH,
    FittingSpace,
    SearchedSpace,
    adapters_of,
    auto_space,
    coverage,
    covers,
    design_space,
    keep_space,
    rate_axes,
    searched_space,
)
from tasks.inputs.catalog import load_catalog
from tasks.inputs.recipes import reference_rule
from tasks.inputs.sizes import ModelSize
from tasks.inputs.spaces import load_space, sampled_problems, space_text
from trials.io.errors import SettingsError

REAL = ModelSize(134_515_008)
NAMED = "somebody/model-135M"


def searched(pairs: int = 0, **fields: Any) -> SearchedSpace:
    return searched_space(TuneSettings(dataset="gcd", **{"model": NAMED, **fields}), pairs)


@pytest.mark.parametrize("model", sorted(load_catalog().models))
def test_the_family_is_searched_in_the_space_of_its_history(model: str) -> None:
    found = searched(model=model)
    assert found.settings.space == "sft_grpo"
    assert space_text(found.space) == space_text(load_space("sft_grpo"))
    assert searched(model=model, pairs=LEAST_PAIRS).settings.space == "sft_dpo_grpo"


def test_the_bundled_space_is_that_of_the_rule_for_the_family_alone() -> None:
    rule, space = reference_rule(), load_space("sft_grpo")
    parameters = [entry.parameters for entry in load_catalog().models.values()]
    for stage, rates in rate_axes(space):
        for count in parameters:
            own = rule.range(stage, adapters_of(space), count)
            assert coverage(rates, own) > 0.8
            assert own.lower < rates.default < own.upper
            assert 1 / 10 < rates.default / own.default < 10
    assert covers(rule, space, 10_000_000)
    assert not covers(rule, space, 30_000_000)


@pytest.mark.parametrize("pairs", [0, LEAST_PAIRS])
def test_a_larger_model_gets_rates_of_its_own(pairs: int) -> None:
    name, space = auto_space(REAL, pairs)
    assert name == AUTO
    assert ("dpo_learning_rate" in space) == bool(pairs)
    rule = reference_rule()
    for stage, rates in rate_axes(space):
        assert rates == rule.range(stage, ["lora"], REAL.parameters)
    kept = load_space("sft_grpo_lora")
    for axis in kept:
        if not axis.endswith("learning_rate") and axis != "sft_share":
            assert space[axis] == kept[axis]
    assert not sampled_problems(space, lambda h: ())
    assert pairs or space["sft_share"] == kept["sft_share"]


def test_few_pairs_give_no_dpo_stage() -> None:
    assert "dpo_learning_rate" not in auto_space(REAL, LEAST_PAIRS - 1)[1]
    batch = load_space("sft_dpo_grpo")["dpo_batch_size"]
    assert max(batch.sequence) == LEAST_PAIRS


def test_a_space_survives_being_saved() -> None:
    _, space = auto_space(REAL)
    again = ConfigurationSpace.from_serialized_dict(space.to_serialized_dict())
    assert again == space
    assert space_text(again) == space_text(space)


@settings(max_examples=15)  # each reads the files of several spaces
@given(parameters=st.integers(10**4, 10**12), pairs=st.sampled_from([0, LEAST_PAIRS]))
def test_what_is_made_is_never_refused(parameters: int, pairs: int) -> None:
    name, space = auto_space(ModelSize(parameters), pairs)
    rule = reference_rule()
    for stage, rates in rate_axes(space):
        usual = rule.rate(stage, adapters_of(space)[0], parameters)
        assert name != AUTO or rates.default == pytest.approx(usual, rel=0.1)
        assert rates.default <= TOO_HIGH * usual


def test_the_note_says_where_rates_begin_and_why() -> None:
    note = searched().note or ""
    assert note.startswith("learning rates: SFT 2.9e-4, RL 2.7e-5 for 135 M parameters with LoRA")
    assert "published recipes (docs/spaces.md)" in note
    assert "sft_grpo" in (searched(model="tiny-1m").note or "")
    assert "its size is not known" in (searched(model="somebody/model").note or "")


def test_rates_far_above_the_rule_are_refused_and_can_be_allowed() -> None:
    with pytest.raises(SettingsError) as caught:
        searched(space="sft_grpo")
    text = str(caught.value)
    for part in ("expected about 2.8e-5", "found a default of 1.0e-3", "--space auto"):
        assert part in text
    assert "rl_learning_rate" not in text
    assert searched(space="sft_grpo", allow_rates=True).space == load_space("sft_grpo")
    assert searched(space="sft_grpo_lora").note is None
    assert searched(space="sft_grpo", model="tiny-4m").settings.space == "sft_grpo"
    assert searched(space="sft_grpo", model="somebody/model")  # of a size that nobody knows


def test_a_whole_range_or_a_fixed_rate_may_be_too_high(tmp_path: Path) -> None:
    for number, axis in enumerate(
        [
            Float("rl_learning_rate", (1e-3, 1e-2), default=1e-3, log=True),
            Constant("rl_learning_rate", 1e-3),
        ]
    ):
        space = ConfigurationSpace({"adapter": "lora"})
        space.add(axis)
        file = tmp_path / f"{number}.yaml"
        space.to_yaml(file)
        with pytest.raises(SettingsError, match=r"rl_learning_rate: expected about 2\.7e-5"):
            searched(space=str(file))


def test_adapters_begin_with_the_default_one() -> None:
    assert adapters_of(load_space("sft_grpo")) == ("full", "lora")
    assert adapters_of(load_space("sft_grpo_lora")) == ("lora",)
    assert adapters_of(ConfigurationSpace({"sft_learning_rate": (1e-5, 1e-3)})) == ("full",)


def test_coverage_is_a_share_of_decades() -> None:
    of = RateRange(1e-4, 1e-3, 1e-2)
    assert coverage(of, of) == pytest.approx(1)
    assert coverage(of, RateRange(1e-3, 1e-2, 1e-1)) == pytest.approx(0.5)
    assert coverage(of, RateRange(1.0, 2.0, 3.0)) == 0


def designed(folder: Path, pairs: int = 0, **fields: Any) -> FittingSpace:
    return design_space(
        CollectSettings(datasets=["gcd"], **{"model": NAMED, **fields}), pairs, folder
    )


def begin(folder: Path) -> None:
    """What the first trial of a design writes."""
    (folder / "0000").mkdir(parents=True)
    (folder / "0000" / "spec.json").write_text("{}")


def raise_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As recipes that were added since might."""
    rule = reference_rule()
    levels = {cell: level + 0.5 for cell, level in rule.levels.items()}
    monkeypatch.setattr(module, "reference_rule", lambda: replace(rule, levels=levels))


@pytest.mark.parametrize("model", sorted(load_catalog().models))
def test_a_design_begins_in_the_space_of_a_search(model: str, tmp_path: Path) -> None:
    found = designed(tmp_path, model=model)
    assert (found.name, found.space) == ("sft_grpo", load_space("sft_grpo"))
    large = designed(tmp_path)
    assert (large.name, large.space, large.note) == (AUTO, searched().space, searched().note)
    assert "dpo_learning_rate" in designed(tmp_path, LEAST_PAIRS).space


def test_a_design_in_rates_far_above_the_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)expected about 2\.8e-5.*--allow-rates"):
        designed(tmp_path, space="sft_grpo")
    assert designed(tmp_path, space="sft_grpo", allow_rates=True).space == load_space("sft_grpo")


def test_a_design_goes_on_in_its_own_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = designed(tmp_path)
    name = keep_space(found, tmp_path)
    assert load_space(name) == found.space
    begin(tmp_path)
    raise_the_rates(monkeypatch)
    assert designed(tmp_path / "new").space != found.space
    again = designed(tmp_path)
    assert (again.space, again.note) == (found.space, None)
    assert keep_space(again, tmp_path) == name
    with pytest.raises(SettingsError, match=r"(?s)space\.json; found --space sft,.*--name"):
        designed(tmp_path, space="sft")
    assert designed(tmp_path, space=str(tmp_path / KEPT)).space == found.space


def test_a_design_without_a_trial_may_begin_in_another_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = designed(tmp_path)
    keep_space(found, tmp_path)  # and then it was killed
    raise_the_rates(monkeypatch)
    again = designed(tmp_path)
    assert again.space != found.space
    assert load_space(keep_space(again, tmp_path)) == again.space
    assert designed(tmp_path, space="sft").name == "sft"


def test_a_design_of_before_spaces_were_kept_goes_on_in_the_familys(tmp_path: Path) -> None:
    begin(tmp_path)
    found = designed(tmp_path)
    assert (found.name, found.space) == ("sft_grpo", load_space("sft_grpo"))
    assert keep_space(found, tmp_path) == "sft_grpo"
    assert designed(tmp_path, space="wide").name == "wide"
    assert not (tmp_path / KEPT).exists()
