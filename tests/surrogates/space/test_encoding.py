from __future__ import annotations

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from ConfigSpace import Configuration
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.core.base import OptionError
from surrogates.space.axes import MISSING, ChoiceAxis, NumberAxis, OrdinalAxis
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import float_space, mixed_space

ENCODER = SpaceEncoder(mixed_space())
unit_rows = st.lists(
    st.lists(st.floats(0, 1), min_size=len(ENCODER.axes), max_size=len(ENCODER.axes)),
    min_size=1,
    max_size=5,
)


@st.composite
def number_axes(draw: st.DrawFn) -> NumberAxis:
    integer, log = draw(st.booleans()), draw(st.booleans())
    lower = draw(st.integers(1, 50)) if integer else draw(st.floats(1e-6, 10.0))
    width = draw(st.integers(1, 500)) if integer else draw(st.floats(1e-3, 1e3))
    return NumberAxis("x", float(lower), float(lower + width), log, integer)


@given(number_axes(), st.floats(0, 1))
def test_a_number_survives_the_round_trip(axis: NumberAxis, u: float) -> None:
    value = axis.decode(u)
    assert axis.lower <= value <= axis.upper
    assert axis.decode(axis.encode(value)) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert 0.0 <= axis.embed(value)[0] <= 1.0


@given(st.integers(1, 9), st.floats(0, 1))
def test_choices_and_ranks_survive_the_round_trip(k: int, u: float) -> None:
    choice = ChoiceAxis("c", tuple(f"v{i}" for i in range(k)))
    rank = OrdinalAxis("o", tuple(2**i for i in range(k)))
    assert choice.decode(choice.encode(choice.decode(u))) == choice.decode(u)
    assert rank.decode(rank.encode(rank.decode(u))) == rank.decode(u)
    assert sum(choice.embed(choice.decode(u))) == 1.0


@given(unit_rows)
@settings(max_examples=50, deadline=None)
def test_decoded_points_are_legal_and_encode_into_the_cube(rows: list[list[float]]) -> None:
    configs = ENCODER.from_unit(np.array(rows))
    for config in configs:
        Configuration(ENCODER.space, values=config).check_valid_configuration()
        assert ("momentum" in config) == (config["optimizer"] == "sgd")
    cube = ENCODER.matrix(configs)
    assert cube.shape == (len(configs), ENCODER.dim)
    assert cube.dtype == np.float64
    assert ((cube >= 0) & (cube <= 1)).all()


@given(unit_rows)
@settings(max_examples=30, deadline=None)
def test_configs_survive_unit_cube_and_table(rows: list[list[float]]) -> None:
    configs = ENCODER.from_unit(np.array(rows))
    units = np.nan_to_num(ENCODER.to_unit(configs), nan=0.3)
    again = ENCODER.from_unit(units)
    assert [ENCODER.key(c) for c in again] == [ENCODER.key(c) for c in configs] or np.allclose(
        ENCODER.matrix(again), ENCODER.matrix(configs), atol=1e-9
    )
    table = pd.DataFrame([{f"config.{k}": v for k, v in c.items()} for c in configs])
    assert ENCODER.from_frame(table) == [ENCODER.normalise(c) for c in configs]
    bare = table.rename(columns=lambda c: c.removeprefix("config."))
    assert ENCODER.from_frame(bare) == ENCODER.from_frame(table)


def test_log_axis_is_linear_in_the_exponent() -> None:
    axis = NumberAxis("lr", 1e-5, 1e-1, log=True, integer=False)
    assert axis.embed(1e-3) == pytest.approx([0.5])
    assert axis.feature(1e-3) == pytest.approx(-3.0)
    assert axis.decode(0.5) == pytest.approx(1e-3)


def test_inactive_hyperparameters_are_neutral_and_flagged() -> None:
    config = ENCODER.default() | {"optimizer": "adamw"}
    config.pop("momentum", None)
    active = config | {"optimizer": "sgd", "momentum": 0.5}
    column = list(ENCODER.names).index("momentum")
    off, on = ENCODER.matrix([config])[0], ENCODER.matrix([active])[0]
    assert np.isnan(ENCODER.to_unit([config])[0, column])
    assert off[-1] == 0.0
    assert on[-1] == 1.0
    assert off[-2] == 0.5


def test_table_for_catboost_has_fixed_columns_and_missing_tokens() -> None:
    frame = ENCODER.frame([{"lr": 1e-2}, {"lr": 1.0, "optimizer": "rmsprop", "batch": 24}])
    assert tuple(frame.columns) == ENCODER.columns
    assert frame["config.optimizer"].tolist() == [MISSING, "rmsprop"]
    assert frame["config.batch"].isna().tolist() == [True, False]
    assert 1.0 < frame["config.batch"][1] < 2.0  # 24 lies between 16 and 32
    assert frame["config.lr"].tolist() == pytest.approx([-2.0, 0.0])


def test_values_outside_the_space_stay_in_the_cube() -> None:
    cube = ENCODER.matrix([{"lr": 5.0, "layers": 99, "optimizer": "rmsprop", "batch": 1}, {}])
    assert ((cube >= 0) & (cube <= 1)).all()


def test_types_survive_a_file() -> None:
    space = cs.ConfigurationSpace(seed=0)
    space.add(
        cs.Categorical("flag", [True, False]), cs.Categorical("k", [1, 2]), cs.Integer("n", (1, 9))
    )
    encoder = SpaceEncoder(space)
    read = pd.DataFrame(
        {"config.flag": ["True", False], "config.k": ["2", 1.0], "config.n": [3.0, 4]}
    )
    assert encoder.from_frame(read) == [
        {"flag": True, "k": 2, "n": 3},
        {"flag": False, "k": 1, "n": 4},
    ]


def test_sampling_is_seeded_distinct_and_leaves_the_space_alone() -> None:
    space = mixed_space()
    encoder = SpaceEncoder(space)
    before = space.sample_configuration(3)
    first = encoder.sample(100, seed=3)
    assert first == encoder.sample(100, seed=3)
    assert first != encoder.sample(100, seed=4)
    assert len({encoder.key(c) for c in first}) == len(first)
    assert before == mixed_space().sample_configuration(3)


def test_a_mostly_forbidden_space_is_still_sampled() -> None:
    space = cs.ConfigurationSpace(seed=0)
    a = cs.Categorical("a", list(range(10)))
    b = cs.Float("b", (0.0, 1.0))
    space.add(a, b)
    space.add(cs.ForbiddenInClause(a, list(range(1, 10))))
    configs = SpaceEncoder(space).sample(32, seed=0)
    assert len(configs) == 32
    assert {c["a"] for c in configs} == {0}


def test_relations_and_nested_conditions_are_kept() -> None:
    space = cs.ConfigurationSpace(seed=0)
    a, b, c = (cs.Float(name, (0.0, 1.0)) for name in "abc")
    switch, size = cs.Categorical("switch", [True, False]), cs.OrdinalHyperparameter("size", [1, 2])
    space.add(a, b, c, switch, size)
    space.add(cs.EqualsCondition(b, switch, True))
    space.add(cs.AndConjunction(cs.GreaterThanCondition(c, b, 0.5), cs.EqualsCondition(c, size, 2)))
    space.add(cs.ForbiddenGreaterThanRelation(a, b))
    encoder = SpaceEncoder(space)
    configs = encoder.sample(200, seed=0)
    assert len(configs) > 100
    assert {len(config) for config in configs} == {3, 4, 5}
    for config in configs:
        Configuration(space, values=config).check_valid_configuration()


def test_what_is_no_space_is_refused() -> None:
    with pytest.raises(OptionError, match="ConfigurationSpace"):
        SpaceEncoder({"lr": (0, 1)})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="nothing to search"):
        SpaceEncoder(cs.ConfigurationSpace())


def test_keys_tell_configurations_apart() -> None:
    encoder = SpaceEncoder(float_space(2))
    assert encoder.key({"x00": 0.1, "x01": 0.2}) == encoder.key({"x01": 0.2, "x00": 0.1 + 1e-16})
    assert encoder.key({"x00": 0.1, "x01": 0.2}) != encoder.key({"x00": 0.1, "x01": 0.2001})
